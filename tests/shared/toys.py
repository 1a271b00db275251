"""Networks whose gradients are known in closed form, and small services made of them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from intgrads.call import Call, Limit, Reply
from intgrads.labels import Labels
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.transform import PictureSpec
from intgrads.service import Service
from intgrads.settings import Settings
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

LABELS = ["tabby, tabby cat", "crane", "crane"]


class Linear(nn.Module):
    """f_c(x) = W_c · x + b_c, of gradient W_c everywhere."""

    def __init__(self, features: int, classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(classes, features, generator=generator))
        self.bias = nn.Parameter(torch.randn(classes, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Quadratic(Linear):
    """f_c(x) = W_c · (x ⊙ x), of gradient 2 W_c ⊙ x: IG = W_c (x² - x'²)."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) ** 2) @ self.weight.T


class Cubic(Linear):
    """f_c(x) = W_c · x³: its gradient is quadratic along a path, exact with two Gauss-Legendre nodes."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) ** 3) @ self.weight.T


def small_network(seed: int = 0, classes: int = 3) -> nn.Sequential:
    """Return a convolutional network with batch norm and dropout, which differ between training and evaluation."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.Dropout(0.5),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def small_service(module: nn.Module | None = None, **settings: Any) -> Service[ImageClassifier]:
    """Return a service of 8 × 10 pictures and three classes, two of them of one name."""
    spec = PictureSpec(height=8, width=10, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
    module = (module or small_network()).eval().requires_grad_(False)
    network = ImageClassifier(module, spec, Labels(LABELS))
    return Service("toy", network, Settings.model_validate({"threads": 1, **settings}), torch.device("cpu"))


def pixels(height: int = 8, width: int = 10, seed: int = 0) -> NDArray[np.uint8]:
    """Return a random picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: NDArray[np.uint8], format: str = "PNG", **options: Any) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format, **options)
    return buffer.getvalue()


def call(accept: str = "", content_type: str = "", **fields: Any) -> Call:
    """Return a call as it comes from a form, its text fields being bytes as in TorchServe; a file alone is the body."""
    raw = {name: v.encode() if isinstance(v, str) else bytes(v) for name, v in fields.items()}
    if set(raw) == {"data"}:
        return Call(raw["data"], accept=accept, content_type=content_type)
    return Call(form=raw, accept=accept, content_type=content_type)


def json_call(**content: Any) -> Call:
    """Return a call whose body was JSON, decoded as TorchServe does."""
    return Call(json.loads(json.dumps(content)), content_type="application/json")


NARROW = Limit(4 * 1024 * 1024, "this way carries 4 MB; ask over HTTP")
"""Of a way of asking that carries little, as gRPC does."""


def told(reply: Reply) -> dict[str, Any]:
    """Return the content of a JSON reply."""
    assert reply.content_type == "application/json"
    content: dict[str, Any] = json.loads(b"".join(reply.body))
    return content


def refused(reply: Reply, status: int, words: str) -> dict[str, Any]:
    """Return the error of a reply that must be one, of a status, and say some words among not too many."""
    error = told(reply)
    assert error.keys() == {"code", "type", "message", "field"}
    assert reply.status == error["code"] == status, error
    assert words in error["message"], error["message"]
    assert len(error["message"]) < 700
    return error
