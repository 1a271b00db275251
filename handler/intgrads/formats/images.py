"""Pictures as files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def to_png(pixels: NDArray[np.uint8], info: str = "") -> bytes:
    """Encode a picture (H, W, 3) as PNG, with a text in its chunk ``info``."""
    chunks = PngInfo()
    if info:
        chunks.add_itxt("info", info)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3, pnginfo=chunks)
    return buffer.getvalue()
