"""Objects of a picture drawn on it, for people: each mask in a colour, with its outline, label and probability."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from intgrads.pictures.heat_map import drawing_scale
from intgrads.pictures.objects import Objects
from intgrads.pictures.sheet import Sheet

COLOURS = "tab10"
"""matplotlib's list of colours that are told apart easily."""

OPACITY = 0.45

LETTERS = 13
"""Pixels of a letter's height."""


def object_map(pixels: NDArray[np.uint8], found: Objects) -> NDArray[np.uint8]:
    """Draw the objects of a picture on it, the likeliest on top.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent.
    found : Objects

    Returns
    -------
    ndarray, (H', W', 3), uint8
        The picture at its size, or as :func:`intgrads.pictures.heat_map.drawing_scale` says.
    """
    scale, size = drawing_scale(pixels)
    drawn = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    palette = (np.array(matplotlib.color_sequences[COLOURS]) * 255).round().astype(np.uint8)
    for k in reversed(range(len(found))):
        colour = palette[k % len(palette)]
        mask = np.asarray(Image.fromarray(found.masks[k]).resize(size, Image.Resampling.NEAREST))
        drawn[mask] = np.rint((1 - OPACITY) * drawn[mask] + OPACITY * colour).astype(np.uint8)
        drawn[find_boundaries(mask, mode="inner")] = colour
    sheet = Sheet(*size)
    sheet.put(drawn)
    for k in reversed(range(len(found))):
        left, top = (found.boxes[k, :2] * scale).tolist()
        text = f"{k}  {found.labels[k]}  {found.scores[k]:.2f}"
        # Inside the picture, wherever its object ends.
        place = max(min(left, size[0] - sheet.width_of(text, LETTERS) - 4), 4), max(top - LETTERS - 4, 4)
        box = {"facecolor": palette[k % len(palette)] / 255, "edgecolor": "none", "pad": 1.5}
        sheet.write(*place, text, LETTERS, color="white", bbox=box)
    return sheet.pixels()
