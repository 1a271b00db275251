"""The fixtures: a small network's checkpoint, small members of families, and a real TorchServe with some archives."""

import contextlib
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import timm
import torch
from intgrads.archives.archiver import make_archive
from intgrads.archives.names import MANIFEST
from intgrads.networks.family import Order
from intgrads.serving.torchserve import TorchServe, free_ports
from intgrads.settings import Settings
from shared.archives import TINY, rewrite
from shared.detections import KINDS, SHAPES, SHAPES_CONFIG
from shared.networks import BIT_SMALL, LANET_SMALL, name_small_members, random_bit, random_lanet
from shared.texts import bert_service
from shared.toys import small_service
from shared.transports import serving

for others in ("ts.torch_handler.base_handler", "detectron2.modeling"):
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        # What they leave open, or use of PyTorch that is going out of use, when they are imported is none of our
        # faults; here, so that it does not matter which test file is the first to import them.
        warnings.simplefilter("ignore")
        import_module(others)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with random weights and three labels for the network TINY."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model(TINY, num_classes=3).state_dict()}, folder / "w.pth")
    (folder / "labels.txt").write_text("cat\ndog\nhorse\n")
    return folder


@pytest.fixture(scope="session")
def pictures() -> httpx.MockTransport:
    """Return what stands for a server of small pictures, where a client is tested."""
    return serving(small_service())


@pytest.fixture(scope="session")
def texts() -> httpx.MockTransport:
    """Return what stands for a server of texts."""
    return serving(bert_service())


@pytest.fixture
def small_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name small members of the families of BiT and LaNet, for this test alone."""
    name_small_members(monkeypatch)


@pytest.fixture(scope="session")
def torchserve(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """Start TorchServe on free ports: both demos, small networks, one that takes batches, and one that cannot load."""
    directory = tmp_path_factory.mktemp("torchserve")
    store = directory / "model_store"
    make_archive(Order("demo-image", None, None, Settings()), "intgrads", store=store)
    settings = Settings.model_validate({"input_size": "64,64", "n_steps": 20})
    small = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], settings)
    make_archive(small, "batches", batch_size=4, store=store)
    damaged = make_archive(small, "damaged", store=store)
    rewrite(damaged, MANIFEST, b'"family": "timm"', b'"family": "what"')
    with pytest.MonkeyPatch.context() as patch:
        name_small_members(patch)
        for name, weights in (("bit", random_bit(BIT_SMALL, 10)), ("lanet", random_lanet(LANET_SMALL, 10))):
            torch.save({"model_state_dict": weights}, directory / f"{name}_model.pth")
            make_archive(Order(f"{name}-small", directory / f"{name}_model.pth", None, Settings()), name, store=store)
    make_archive(Order("demo-text", None, None, Settings()), "text", batch_size=2, store=store)
    models = ["intgrads.mar", "batches.mar", "damaged.mar", "bit.mar", "lanet.mar", "text.mar"]
    if find_spec("detectron2"):
        files: dict[str, Any] = {"tensormask": SHAPES, "tensormask_config": SHAPES_CONFIG}
        make_archive(
            Order("tensormask", None, KINDS, Settings(n_steps=8), **files), "shapes", batch_size=2, store=store
        )
        both = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], settings, **files)
        make_archive(both, "scenes", store=store)
        models += ["shapes.mar", "scenes.mar"]
    with TorchServe(directory, free_ports(5), models, store).running_until_left() as server:
        yield server
