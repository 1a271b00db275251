"""A small server for what goes wrong on purpose: a network that is quick, another one, and one that is impatient."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from intgrads.archives.archiver import ENCODING_SECONDS, make_archive
from intgrads.networks.family import Order
from intgrads.serving.torchserve import TorchServe, free_ports
from intgrads.settings import Settings
from shared.archives import TINY, rewrite

PATIENCE = 15
"""Seconds after which TorchServe takes a worker of ``impatient`` for dead, where it would wait two minutes more."""


@pytest.fixture(scope="session")
def small_order(tiny: Path) -> Order:
    """Return what archives of a small network are made of."""
    settings = Settings.model_validate({"input_size": "64,64", "n_steps": 20, "threads": 1, "operators": "plain"})
    return Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], settings)


@pytest.fixture(scope="session")
def faulty(small_order: Order, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """Start a server with one worker for each of three archives; tests leave it as they found it."""
    directory = tmp_path_factory.mktemp("faulty")
    store = directory / "model_store"
    for name in ("small", "other"):
        make_archive(small_order, name, store=store)
    hasty = small_order.settings.model_copy(update={"response_timeout": 2})
    archive = make_archive(
        Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], hasty), "impatient", store=store
    )
    rewrite(
        archive, "model-config.yaml", b"responseTimeout: %d" % (2 + ENCODING_SECONDS), b"responseTimeout: %d" % PATIENCE
    )
    models = ["small.mar", "other.mar", "impatient.mar"]
    server = TorchServe(directory, free_ports(5), models, store, {"enable_model_api": "true"})
    with server.running_until_left():
        yield server
