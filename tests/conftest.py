"""What tests share: a small network's checkpoint, and a real TorchServe with some archives."""

import contextlib
import warnings
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from detections import KINDS, SHAPES, SHAPES_CONFIG
from intgrads.archives.archive import MANIFEST
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.settings import Settings
from networks import random_bit, random_lanet
from server import TorchServe, free_ports

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    # What others leave open, or use of PyTorch that is going out of use, when they are imported is none of our faults.
    warnings.simplefilter("ignore")
    import ts.torch_handler.base_handler  # noqa: F401

TINY = "resnet10t"
"""A network of timm that loads and computes in a moment."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with random weights and three labels for the network TINY."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model(TINY, num_classes=3).state_dict()}, folder / "w.pth")
    (folder / "labels.txt").write_text("cat\ndog\nhorse\n")
    return folder


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
    for name, weights in (("bit", random_bit("bit-small", 10)), ("lanet", random_lanet("lanet-small", 10))):
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
    server = TorchServe(directory, free_ports(5), models, store)
    server.start()
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def rewrite(archive: Path, name: str, before: bytes, after: bytes) -> None:
    """Change what one file of an archive says."""
    with zipfile.ZipFile(archive) as whole:
        files = {part: whole.read(part) for part in whole.namelist() if not part.endswith("/")}
    assert before in files[name]
    files[name] = files[name].replace(before, after)
    with zipfile.ZipFile(archive, "w") as changed:
        for part, content in files.items():
            changed.writestr(part, content)
