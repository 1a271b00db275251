"""What lies in an archive, as a kind of input is handed it to open its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.settings import Settings
from intgrads.speed.choices import Choices


@dataclass(frozen=True)
class Stored:
    """An archive that was unpacked.

    Attributes
    ----------
    directory : Path
    manifest : dict
        What it says of itself; what it says of a kind of input stands under the kind's name.
    settings : Settings
    device : torch.device
        Where its network is to run.
    labels : Labels
        One for each output of its classifier.
    outputs : str
        What these are; see :mod:`intgrads.outputs`.
    choices : Choices
        How the layers of its classifier are computed.
    examples : tuple of Path
        Inputs that requests can start from, by name.
    build : callable
        Builds its classifier, the weights loaded, in evaluation mode and frozen, on the CPU.
    """

    directory: Path
    manifest: dict[str, Any]
    settings: Settings
    device: torch.device
    labels: Labels
    outputs: Outputs
    choices: Choices
    examples: tuple[Path, ...]
    build: Callable[[], nn.Module]
