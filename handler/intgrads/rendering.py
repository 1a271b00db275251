"""Attributions as pictures for people.

Display only: what is drawn is the magnitude of the attribution, summed over the colour channels, smoothed and clipped
so that the eye can follow it. The numbers, with their signs, are in the other formats.
"""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from skimage.filters import gaussian

SMOOTHING = 0.025
"""Standard deviation of the smoothing, as a part of the map's longer side. IG is speckled at single pixels."""

CLIP_PERCENTILE = 99.5
"""Attributions beyond this percentile are drawn at full brightness."""

COLOURS = "inferno"
"""matplotlib's map from dark (no attribution) to bright (the most)."""


SHORTEST_SIDE = 320
"""Pixels of an annotated drawing's shorter side at least: numbers and labels must be legible on small pictures."""

BAND = 256
"""Rows that are drawn at a time."""


def heat_map(pixels: NDArray[np.uint8], attribution: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay an attribution over its picture.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent.
    attribution : ndarray, (3, h, w)
        Integrated gradients at the network's size; resized to the picture's.

    Returns
    -------
    ndarray, (H, W, 3), uint8
        The picture in dark grey, brighter and warmer where its pixels moved the output more.
    """
    height, width = pixels.shape[:2]
    magnitude = np.abs(attribution.sum(axis=0, dtype=np.float64))
    # Zeros beyond the border: repeating the border's own values would let single pixels there outshine the rest.
    smooth = gaussian(magnitude, sigma=SMOOTHING * max(magnitude.shape), mode="constant")
    top = np.percentile(smooth, CLIP_PERCENTILE)
    strength = np.clip(smooth / top, 0, 1) if top > 0 else np.zeros_like(smooth)
    resized = Image.fromarray(strength.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    strength = np.asarray(resized)

    drawn = np.empty_like(pixels)
    # A band of rows at a time: in one piece a photo of 50 megapixels would take gigabytes here.
    for top_row in range(0, height, BAND):
        rows = slice(top_row, top_row + BAND)
        colour = matplotlib.colormaps[COLOURS](strength[rows], bytes=True)[..., :3]
        grey = 0.7 * np.asarray(Image.fromarray(pixels[rows]).convert("L"), np.float32)[..., None]
        opacity = 0.25 + 0.6 * strength[rows][..., None]
        drawn[rows] = np.rint(grey + opacity * (colour - grey))
    return drawn


def drawing_scale(pixels: NDArray[np.uint8]) -> tuple[float, tuple[int, int]]:
    """Return by how much a picture (H, W, 3) is enlarged to be annotated, 1 at least, and its width and height then."""
    height, width = pixels.shape[:2]
    scale = max(1.0, SHORTEST_SIDE / min(height, width))
    return scale, (round(width * scale), round(height * scale))


def to_png(pixels: NDArray[np.uint8], info: str = "") -> bytes:
    """Encode a picture (H, W, 3) as PNG, with a text in its chunk ``info``."""
    chunks = PngInfo()
    if info:
        chunks.add_itxt("info", info)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3, pnginfo=chunks)
    return buffer.getvalue()
