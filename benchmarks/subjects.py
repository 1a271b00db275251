"""Pictures of three networks, and sentences: what an attribution is held to its claim on.

- *photos*: the demo network on pictures of scikit-image and scikit-learn;
- *digits*: the small BiT of ``training/bit_digits.py`` on digits held out;
- *drawings*: bars, rings and stars of ``training/shapes.py``, and its TensorMask as a classifier of what is there;
- *sentences*: demo-text on sentences of ``training/demo_text.split.json`` that were held out, downloaded by pip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import bit_digits
import numpy as np
import skimage.data
import torch
from demo_text import SPLIT, download, read_sentences
from inputs import PICTURES, load
from intgrads.call import Call
from intgrads.detections.detectron import build_tensormask, read_config
from intgrads.networks.bit import BiT, pth_name
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.reading import read_request
from intgrads.settings import Settings
from intgrads.subject import Integrand
from numpy.typing import NDArray
from safetensors.torch import load_file
from shapes import CONFIG, HELD_OUT, KINDS, WEIGHTS, draw, normalised
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

CPU = torch.device("cpu")
PHOTOS = ("china.jpg", "flower.jpg")
"""Of scikit-learn."""


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
        yield Pictured(f"digit {k + 1}", network, pixels, lambda picture: bit_digits.normalised(picture[None])[0])


def drawings(count: int) -> Iterator[Pictured]:
    """Yield drawings held out."""
    network = KindsPresent()
    for k in range(count):
        yield Pictured(f"drawing {k + 1}", network, draw(HELD_OUT + k).pixels, network.normalise)


class KindsPresent(nn.Module):
    """The TensorMask of ``training/shapes.py`` as a classifier: how surely a drawing has each kind of shape anywhere.

    A logit a kind, (B, 3): that of the window that is surest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.detector = build_tensormask(read_config(CONFIG))
        self.detector.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of drawings (B, 3, H, W)."""
        levels = [
            self.detector.head.classes(feature).reshape(len(x), -1, len(KINDS), *feature.shape[2:]).amax((1, 3, 4))
            for feature in self.detector.features(x)
        ]
        return torch.stack(levels).amax(0)

    def normalise(self, pixels: NDArray[np.generic]) -> Tensor:
        """Return what it takes for pixels (H, W, 3), 0 … 255."""
        return normalised(self.detector, pixels[None])[0]


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
