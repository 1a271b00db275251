"""Photos of odd shapes, and what timm's own transform makes of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def photos() -> dict[str, Pixels]:
    """Return ten pictures of odd shapes: landscape, portrait, square, grey, tiny, narrow."""
    chelsea, coffee, camera = skimage.data.chelsea(), skimage.data.coffee(), skimage.data.camera()
    return {
        "chelsea": chelsea,
        "coffee": coffee,
        "astronaut": skimage.data.astronaut(),
        "rocket": skimage.data.rocket(),
        "grey": camera,
        "portrait": chelsea[:, 120:341],
        "of the network's size": coffee[90:314, 200:424],
        "tiny": chelsea[100:107, 100:109],
        "wide": coffee[200:231],
        "tall": camera[:, 100:127],
    }


def seen_by_timm(transform: Callable[[Image.Image], torch.Tensor], picture: Pixels) -> torch.Tensor:
    return transform(Image.fromarray(picture).convert("RGB"))[None]
