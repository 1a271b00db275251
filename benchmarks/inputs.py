"""Real inputs of the demo networks: scikit-image's pictures and sentences of our own, as a worker prepares them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import torch
from intgrads.archives.archive import open_archive, read_manifest, write_archive
from intgrads.archives.names import WEIGHTS
from intgrads.call import Call
from intgrads.networks import FAMILIES
from intgrads.networks.family import Order
from intgrads.reading import read_request
from intgrads.settings import Settings
from intgrads.subject import Classifier
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

PICTURES = (
    "chelsea", "coffee", "astronaut", "rocket", "camera", "hubble_deep_field", "retina", "immunohistochemistry",
    "brick", "grass", "gravel", "coins", "moon", "page", "text", "clock", "horse", "cat", "colorwheel",
)  # fmt: skip
"""Of scikit-image, in the order they are taken in; those that a machine without the network has not are left out."""

SENTENCES = (
    "The film is slow, but I loved every minute of it.",
    "The camera of this phone is not good.",
    "A warm, funny, engaging film that never loses its way.",
    "It could have been worse, though I cannot imagine how.",
    "The battery lasts all day and the screen is bright.",
    "Nobody in their right mind would pay for this.",
    "I expected little and was pleasantly surprised.",
    "The plot makes no sense, the acting is wooden, and the ending is an insult.",
    "Fast delivery, but the box was damaged and one part was missing.",
    "An honest, moving portrait of a family in trouble.",
)


@dataclass(frozen=True)
class Input:
    """An input of a network, and where its path starts.

    Attributes
    ----------
    name : str
    forward : nn.Module
        Prepared, takes x.
    plain : nn.Module
        As it came.
    x, baseline : Tensor, (1, *shape)
    """

    name: str
    forward: nn.Module
    plain: nn.Module
    x: Tensor
    baseline: Tensor


def contents(model: str, count: int) -> Iterator[tuple[str, Call]]:
    """Return what is asked of a demo network."""
    if model == "demo-text":
        for sentence in SENTENCES[:count]:
            yield sentence, Call({"sequence": sentence})
        return
    found = 0
    for name in PICTURES:
        if found == count:
            return
        try:
            pixels = getattr(skimage.data, name)()
        except Exception:
            continue
        found += 1
        picture = pixels if pixels.dtype == np.uint8 else (255 * (pixels > 0)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        yield name, Call(buffer.getvalue(), content_type="image/png")


def load(model: str, device: torch.device) -> tuple[Classifier, nn.Module]:
    """Return a demo network, prepared, and its module as it came."""
    with tempfile.TemporaryDirectory() as folder:
        write_archive(Order(model, None, None, Settings()), Path(folder))
        return open_archive(Path(folder), device).network, plain_module(Path(folder)).to(device)


def plain_module(folder: Path) -> nn.Module:
    """Return the network of an archive as it came, not prepared."""
    manifest = read_manifest(folder)
    module = FAMILIES[manifest["family"]].family().build(manifest["architecture"])
    module.load_state_dict(load_file(folder / WEIGHTS))
    return module.eval().requires_grad_(False)


def inputs(model: str, count: int, device: torch.device) -> Iterator[Input]:
    """Return the first inputs of a demo network, as a worker prepares them."""
    network, plain = load(model, device)
    for name, call in contents(model, count):
        yield prepared(name, call, network, plain, device)


def prepared(name: str, call: Call, network: Classifier, plain: nn.Module, device: torch.device) -> Input:
    """Return an input as a worker prepares it, given what is sent."""
    request, _ = read_request(call, Settings(), network.request, network.defaults)
    integrand = network.read(request, Settings())[0].look(lambda: None).integrand
    assert integrand is not None
    x, baseline = integrand.input[None].to(device), integrand.baseline[None].to(device)
    return Input(name, integrand.bind(network.module), integrand.bind(plain), x, baseline)
