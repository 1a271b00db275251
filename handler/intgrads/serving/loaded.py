"""An archive loaded from its file, for whoever serves it without TorchServe: Ray Serve, and runs over data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from intgrads.service import Service
from intgrads.serving.unpacked import unpacked
from intgrads.speed.cores import cores
from intgrads.speed.devices import exact_products


def loaded(archive: Path, cpus: float, name: str | None = None) -> tuple[Service[Any], int, float]:
    """Return the service of an archive, how many requests it takes together, and how long it waits for them.

    Parameters
    ----------
    archive : Path
        NAME.mar.
    cpus : float
        Cores that this process has of its machine.
    name : str, optional
        What the archive is called where it is served; by default the model's name.

    Returns
    -------
    Service, int, float
        On a GPU where there is one; requests; seconds.

    Raises
    ------
    OSError, ValueError, CheckpointError
        If it cannot be loaded.
    """
    exact_products()
    directory, config = unpacked(archive)
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    service = Service.load(directory, device, lambda: sharing(cpus), served_as=name)
    return service, int(config.get("batchSize", 1)), int(config.get("maxBatchDelay", 50)) / 1000


def sharing(cpus: float) -> int:
    """Return how many processes share this machine's cores with one that has some of them, itself among them."""
    return max(1, round(cores() / max(cpus, 0.5)))
