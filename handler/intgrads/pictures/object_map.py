"""Objects of a picture drawn on it, for people: each mask in a colour, with its outline, label and probability."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from intgrads.pictures.heat_map import drawing_scale
from intgrads.pictures.objects import Objects

COLOURS = "tab10"
"""matplotlib's list of colours that are told apart easily."""

OPACITY = 0.45


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
    image = Image.fromarray(drawn)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=13)
    for k in reversed(range(len(found))):
        left, top = (found.boxes[k, :2] * scale).tolist()
        text = f"{k}  {found.labels[k]}  {found.scores[k]:.2f}"
        place = max(min(left, size[0] - pen.textlength(text, font=font) - 3), 2), max(top - 15, 0)
        box = pen.textbbox(place, text, font=font)
        pen.rectangle((box[0] - 2, box[1] - 1, box[2] + 2, box[3] + 1), fill=tuple(palette[k % len(palette)].tolist()))
        pen.text(place, text, fill="white", font=font)
    return np.asarray(image)
