"""Attributions as pictures for people.

Display only: what is drawn is the magnitude of the attribution, summed over the colour channels, smoothed and clipped
so that the eye can follow it. The numbers, with their signs, are in the other formats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.filters import gaussian

from intgrads.answers.colours import MAGNITUDES, signed_colour
from intgrads.integral.drawing import CLIP_PERCENTILE
from intgrads.pictures.transform import View

SMOOTHING = 0.025
"""Standard deviation of the smoothing, as a part of the map's longer side. IG is speckled at single pixels."""

SHORTEST_SIDE = 320
"""Pixels of an annotated drawing's shorter side at least: numbers and labels must be legible on small pictures."""

LONGEST_SIDE = 2048
"""Pixels of its longer side at most: groups of a photo of 50 megapixels would take minutes and gigabytes to draw, and a
picture of 1 × 3000 would be enlarged to one of 320 × 960,000."""

BAND = 256
"""Rows that are drawn at a time."""

HATCHES = 45
"""Stripes along the longer side of a drawing, where the network did not look."""


def heat_map(pixels: NDArray[np.uint8], attribution: NDArray[Any], view: View) -> NDArray[np.uint8]:
    """Lay an attribution over its picture, where the network looked.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent.
    attribution : ndarray, (C, h, w)
        Integrated gradients at the network's size; resized to what the network saw of the picture.
    view : View
        What that was.

    Returns
    -------
    ndarray, (H, W, 3), uint8
        The picture in dark grey, brighter and warmer where its pixels moved the output more; hatched grey where
        the network saw nothing of it.
    """
    smooth = _smooth(np.abs(attribution.sum(axis=0, dtype=np.float64)))

    def colour(strong: NDArray[np.float32], grey: NDArray[np.float32]) -> NDArray[Any]:
        warm = matplotlib.colormaps[MAGNITUDES](strong, bytes=True)[..., :3]
        dark = 0.7 * grey
        drawn: NDArray[np.float32] = dark + (0.25 + 0.6 * strong[..., None]) * (warm - dark)
        return drawn

    return _laid_over(pixels, _clipped(smooth, smooth), view, colour)


def signed_map(pixels: NDArray[np.uint8], attribution: NDArray[Any], view: View) -> NDArray[np.uint8]:
    """Lay an attribution with its signs over its picture: blue where it is above 0, red where it is below.

    Takes and returns what :func:`heat_map` does, but for the colours. Neighbours of opposite signs cancel.
    """
    return signed_colours(pixels, smoothed(attribution), view)


def signed_colours(
    pixels: NDArray[np.uint8], smooth: NDArray[np.float64], view: View, *, bare: bool = False
) -> NDArray[np.uint8]:
    """Draw what :func:`smoothed` returned as :func:`signed_map` does, or bare, in place of its picture."""

    def colour(strong: NDArray[np.float32], grey: NDArray[np.float32]) -> NDArray[Any]:
        signed = signed_colour(strong.astype(np.float64))
        return signed if bare else grey + 0.85 * np.abs(strong[..., None]) * (signed - grey)

    return _laid_over(pixels, _clipped(smooth, np.abs(smooth)), view, colour)


def smoothed(attribution: NDArray[Any]) -> NDArray[np.float64]:
    """Return an attribution (C, h, w) as it is drawn: of each pixel, smoothed, (h, w)."""
    return _smooth(attribution.sum(axis=0, dtype=np.float64))


def _laid_over(
    pixels: NDArray[np.uint8],
    strength: NDArray[np.float64],
    view: View,
    colour: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]],
) -> NDArray[np.uint8]:
    """Return a picture in colours where the network looked: of the strength there (h, w), and of its grey (h, w, 1)."""
    height, width = pixels.shape[:2]
    (seen_rows, seen_columns), _ = view.place((height, width))
    strengths, top_seen = view.enlarge(strength.astype(np.float32), (height, width)), seen_rows.start

    drawn = np.empty_like(pixels)
    # A band of rows at a time: in one piece a photo of 50 megapixels would take gigabytes here.
    for top_row in range(0, height, BAND):
        rows = slice(top_row, top_row + BAND)
        grey = np.asarray(Image.fromarray(pixels[rows]).convert("L"), np.float32)
        drawn[rows] = unseen(grey, top_row, (height, width))[..., None]
        here = slice(max(top_row, top_seen), min(top_row + BAND, seen_rows.stop))
        if here.start >= here.stop:
            continue
        strong = strengths[here.start - top_seen : here.stop - top_seen]
        drawn[here, seen_columns] = np.rint(
            colour(strong, grey[here.start - top_row : here.stop - top_row, seen_columns, None])
        )
    return drawn


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of pixels (h, w) as the eye can follow them."""
    # Zeros beyond the border: repeating the border's own values would let single pixels there outshine the rest.
    return np.asarray(gaussian(values, sigma=SMOOTHING * max(values.shape), mode="constant"))


def _clipped(smooth: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values as parts of a high percentile of some sizes, from -1 to 1."""
    top = np.percentile(sizes, CLIP_PERCENTILE)
    return np.clip(smooth / top, -1, 1) if top > 0 else np.zeros_like(smooth)


def unseen(grey: NDArray[Any], first_row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return rows of a drawing as they are drawn where the network did not look: grey, with slanting stripes.

    Parameters
    ----------
    grey : ndarray, (h, W), 0 … 255
    first_row : int
        Which row of the drawing the first is.
    size : (int, int)
        Height and width of the drawing.

    Returns
    -------
    ndarray, (h, W), uint8
    """
    period = max(4, max(size) // HATCHES)
    rows = np.arange(first_row, first_row + len(grey), dtype=np.int32)[:, None]
    striped = (rows + np.arange(grey.shape[1], dtype=np.int32)) % period < max(1, period // 4)
    grey = grey.astype(np.float32)
    hatched: NDArray[np.uint8] = np.where(striped, 90 + 0.3 * grey, 115 + 0.4 * grey).astype(np.uint8)
    return hatched


def drawing_scale(pixels: NDArray[np.uint8]) -> tuple[float, tuple[int, int]]:
    """Return by how much a picture (H, W, 3) is enlarged or reduced to be annotated, and its width and height then."""
    height, width = pixels.shape[:2]
    scale = min(max(1.0, SHORTEST_SIDE / min(height, width)), LONGEST_SIDE / max(height, width))
    return scale, (max(1, round(width * scale)), max(1, round(height * scale)))
