"""An attribution over its picture with a scale: in signed colours, in these alone, or as a contour of its larger part.

Colours are those of answers/colours.py: blue raised the output, red lowered it. Values are smoothed as heat_map.py
does, and the colour bar says which value a colour stands for.
"""

from __future__ import annotations

from textwrap import wrap
from typing import Any, Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from intgrads.answers.colours import FRAME, signed_colour
from intgrads.integral.drawing import CLIP_PERCENTILE
from intgrads.pictures.heat_map import drawing_scale, signed_colours, smoothed
from intgrads.pictures.sheet import Sheet
from intgrads.pictures.transform import View

Style = Literal["plain", "overlay", "signed", "contour"]
"""``plain`` is heat_map.py's, without a scale."""

SHARE = 0.5
"""Part of the attribution's magnitude that a contour holds."""

MARGIN, BAR, NUMBERS, LINE, LETTER, SIZE = 12, 16, 64, 20, 7, 12.5
"""Pixels around a drawing, of the colour bar's width and of its numbers', of a line and, about, of a letter's width and
height."""

ORDINARY = 700
"""Pixels of a drawing's longer side up to which these are so; on larger ones all grows with it."""

LEGEND = "blue raised the output, red lowered it; the bar is of a pixel's attribution, smoothed"


def in_style(
    style: Style, pixels: NDArray[np.uint8], attribution: NDArray[Any], view: View, *, title: str, figures: str
) -> NDArray[np.uint8]:
    """Draw an attribution over its picture, with a title and a scale.

    Parameters
    ----------
    style : {"overlay", "signed", "contour"}
        Signed colours over the grey picture, these colours alone, or the picture with the contour of the least area
        that carries half of the attribution's magnitude.
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent; drawn at its size, or as :func:`.heat_map.drawing_scale` says.
    attribution : ndarray, (C, h, w)
        Integrated gradients at the network's size.
    view : View
        What the network saw of the picture.
    title, figures : str
        What was attributed, and what is told of it; a line or more each.

    Returns
    -------
    ndarray, (H', W', 3), uint8
    """
    _, size = drawing_scale(pixels)
    picture = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    smooth = smoothed(attribution)
    if style == "contour":
        drawn, area = _contour(picture, smooth, view)
        figures = (
            f"framed: the least area that carries {SHARE:.0%} of the attribution, {area:.0%} of the picture; {figures}"
        )
        return _sheet(drawn, title, figures, None)
    figures = f"{figures}; {LEGEND}"
    drawn = signed_colours(picture, smooth, view, bare=style == "signed")
    return _sheet(drawn, title, figures, float(np.percentile(np.abs(smooth), CLIP_PERCENTILE)))


def _contour(picture: NDArray[np.uint8], smooth: NDArray[np.float64], view: View) -> tuple[NDArray[np.uint8], float]:
    """Return a picture with the contour of a map's largest values, and what part of the picture is within."""
    sizes = np.sort(np.abs(smooth).ravel())[::-1]
    running = np.cumsum(sizes)
    least = sizes[min(int(np.searchsorted(running, SHARE * running[-1])), len(sizes) - 1)]
    size = picture.shape[:2]
    seen, _ = view.place(size)
    inside = np.zeros(size, bool)
    inside[seen] = (view.enlarge(np.abs(smooth).astype(np.float32), size) >= least) & (least > 0)
    drawn = np.where(inside[..., None], picture, 0.45 * picture).astype(np.uint8)
    drawn[find_boundaries(inside, mode="thick")] = FRAME
    return drawn, float(inside.mean())


def _sheet(drawn: NDArray[np.uint8], title: str, figures: str, largest: float | None) -> NDArray[np.uint8]:
    """Return a drawing with its title above it, and beside it a bar of the signed colours up to a value."""
    height, width = drawn.shape[:2]
    grown = max(1.0, max(height, width) / ORDINARY)
    margin, bar, numbers, line, letter = (round(grown * size) for size in (MARGIN, BAR, NUMBERS, LINE, LETTER))
    right = margin if largest is None else 2 * margin + bar + numbers
    lines = [one for text in (title, figures) for one in wrap(text, max(20, (width + right) // letter))]
    whole = margin + width + right, margin + line * len(lines) + height + margin
    sheet = Sheet(whole[0], whole[1])
    top = margin + line * len(lines)
    sheet.put(drawn, margin, top)
    for k, one in enumerate(lines):
        sheet.write(margin, margin + line * k, one, SIZE * grown)
    if largest is not None:
        colours = ListedColormap(signed_colour(np.linspace(-1, 1, 256)) / 255)
        scale = ScalarMappable(Normalize(-(largest or 1), largest or 1), colours)
        numbered = ScalarFormatter()
        numbered.set_powerlimits((-2, 3))
        bar_axes = sheet.axes(2 * margin + width, top, bar, height)
        beside = sheet.figure.colorbar(scale, cax=bar_axes, format=numbered).ax
        beside.tick_params(labelsize=8 * grown)
        beside.yaxis.get_offset_text().set_fontsize(8 * grown)
    return sheet.pixels()
