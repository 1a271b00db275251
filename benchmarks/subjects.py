"""Pictures of three networks, and sentences: what an attribution is held to its claim on.

- *photos*: the demo network on pictures of scikit-image and scikit-learn;
- *digits*: the small BiT of ``training/bit_digits.py`` on digits held out;
- *drawings*: bars, rings and stars of ``training/shapes.py``, and a network that tells which of them are there. It is
  trained here, in about a minute, and its accuracy printed.
- *sentences*: demo-text on sentences of ``training/demo_text.split.json`` that were held out, downloaded by pip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import bit_digits
import numpy as np
import skimage.data
import torch
from demo_text import SPLIT, download, read_sentences
from inputs import PICTURES, load
from intgrads.call import Call
from intgrads.networks.bit import BiT, pth_name
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.reading import read_request
from intgrads.settings import Settings
from intgrads.subject import Integrand
from numpy.typing import NDArray
from safetensors.torch import load_file
from shapes import HELD_OUT, KINDS, Drawing, draw
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

CPU = torch.device("cpu")
PHOTOS = ("china.jpg", "flower.jpg")
"""Of scikit-learn."""
TRAINED_ON, EPOCHS, BATCH, RATE = 4000, 6, 50, 3e-3
"""Drawings, of the network that tells their shapes."""


@dataclass(frozen=True)
class Pictured:
    """A picture as a network takes it.

    Attributes
    ----------
    name : str
    module : nn.Module
        (B, 3, H, W) to logits.
    pixels : ndarray, (H, W, 3), uint8
        What the network sees.
    normalise : callable
        From pixels, (H, W, 3), 0 … 255, to what it takes, (3, H, W).
    """

    name: str
    module: nn.Module
    pixels: NDArray[np.uint8]
    normalise: Callable[[NDArray[np.generic]], Tensor]


def _normalise(pixels: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.asarray(pixels, np.float32)).permute(2, 0, 1) / 127.5 - 1


def photos(count: int) -> Iterator[Pictured]:
    """Yield photos of the demo network."""
    network, _ = load("demo-image", CPU)
    assert isinstance(network, ImageClassifier)
    found = 0
    for name in (*PICTURES, *PHOTOS):
        if found == count:
            return
        try:
            pixels = load_sample_image(name) if name in PHOTOS else getattr(skimage.data, name)()
        except Exception:  # a machine without the network has not all of scikit-image's
            continue
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            pixels = np.repeat((255 * (pixels / pixels.max())).astype(np.uint8)[..., None], 3, 2)
        found += 1
        picture = Picture(np.ascontiguousarray(pixels[..., :3]))
        yield Pictured(name, network.module, network.picture.resize(picture), network.picture.normalise)


def digits(count: int) -> Iterator[Pictured]:
    """Yield digits held out of the small BiT."""
    network = BiT().build(bit_digits.ARCHITECTURE)
    weights = load_file(bit_digits.WEIGHTS)
    network.load_state_dict({name: weights[pth_name(name)].float() for name in network.state_dict()})
    network.eval().requires_grad_(False)
    for k, pixels in enumerate(bit_digits.digits()[1][:count]):
        yield Pictured(f"digit {k + 1}", network, pixels, _normalise)


def drawings(count: int) -> Iterator[Pictured]:
    """Yield drawings held out."""
    network = of_shapes()
    for k in range(count):
        yield Pictured(f"drawing {k + 1}", network, draw(HELD_OUT + k).pixels, _normalise)


@lru_cache(maxsize=1)
def of_shapes(trained_on: int = TRAINED_ON) -> nn.Module:
    """Return a network that tells which kinds of shapes a drawing has, a logit each; trained here."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.AvgPool2d(2)]
    width, channels = 24, 3
    for out in (width, 2 * width, 4 * width, 4 * width):
        layers += [nn.Conv2d(channels, out, 3, 2, 1), nn.GroupNorm(8, out), nn.ReLU()]
        layers += [nn.Conv2d(out, out, 3, 1, 1), nn.GroupNorm(8, out), nn.ReLU()]
        channels = out
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, len(KINDS)))
    drawn = [draw(k) for k in range(trained_on)]
    x = torch.stack([_normalise(one.pixels) for one in drawn])
    y = torch.stack([present(one) for one in drawn])
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(network(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    network.eval().requires_grad_(False)
    held_out = [draw(HELD_OUT + k) for k in range(300)]
    told = network(torch.stack([_normalise(one.pixels) for one in held_out])) > 0
    right = (told == torch.stack([present(one) for one in held_out]).bool()).float().mean()
    print(f"the network of shapes tells {100 * float(right):.1f} % of 900 held out", flush=True)
    return network


def present(drawing: Drawing) -> Tensor:
    """Return which kinds of shapes a drawing has, (3,), 0 or 1."""
    return torch.tensor([float((drawing.kinds == kind).any()) for kind in range(len(KINDS))])


def sentences(count: int, baselines: Sequence[str]) -> Iterator[tuple[nn.Module, list[Integrand]]]:
    """Yield sentences held out: the network, and each as an integrand for each baseline, its words the groups."""
    network, _ = load("demo-text", CPU)
    held_out = json.loads(SPLIT.read_text())["held_out"]
    rated = read_sentences(download())
    each = -(-count // len(held_out))
    for source, keys in held_out.items():
        chosen = set(keys[:each])
        for sentence in rated:
            if sentence.source == source and sentence.key in chosen:
                found: list[Integrand] = []
                for baseline in baselines:
                    content = {"sequence": sentence.text, "groups": "words", "baseline": baseline}
                    request, _ = read_request(Call(content), Settings(), network.request)
                    integrand = network.read(request, Settings())[0].look(lambda: None).integrand
                    assert integrand is not None
                    found.append(integrand)
                yield network.module, found
