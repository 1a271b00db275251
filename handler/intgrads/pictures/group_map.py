"""Feature groups as pictures for people: each in the colour of its share, the largest of them numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from intgrads.answers.colours import ALIKE, FRAME, ranking, signed_colour
from intgrads.integral.groups import GroupValues
from intgrads.pictures.heat_map import drawing_scale, unseen
from intgrads.pictures.sheet import Sheet
from intgrads.pictures.transform import View


class Region(NamedTuple):
    """A part of a drawing, and what of it is a group."""

    around: tuple[slice, slice]
    inside: NDArray[np.bool_]


RANKS = 10
"""Groups that are numbered and listed."""

HEADING = "share of f(x) − f(x′)"
LINE, SIZE, SWATCH, MARGIN = 18, 13, 12, 10
"""Pixels of a line of the ranking, of its letters' height, of the colour before it, and around it."""

LONGEST_LABEL = 24
"""Letters of a group's label that are listed."""


def group_map(
    pixels: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    labels: Sequence[str],
    values: GroupValues,
    view: View,
    *,
    difference: float,
    framed: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Draw groups over their picture, and a ranking beside it.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent.
    masks : ndarray, (G, h, w), bool
        At the network's size; drawn at the picture's, or as :func:`.heat_map.drawing_scale` says.
    labels : sequence of str, length G
    values : GroupValues
        Of these groups.
    view : View
        What the network saw of the picture.
    difference : float
        f(x) - f(x').
    framed : ndarray, (h, w), bool, optional
        A part of the picture to draw a frame around.

    Returns
    -------
    ndarray, (H', W', 3), uint8
        The picture in grey; blue where a group raised the output and red where it lowered it, the deeper the larger the
        sum of its attribution. Where groups overlap the one of the larger sum is seen. What the network did not see is
        hatched.
    """
    sums = values.integrated_gradients
    order = ranking(sums)
    _, size = drawing_scale(pixels)
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BILINEAR))
    seen, _ = view.place(grey.shape)
    strengths = sums / (np.abs(sums).max() or 1.0)
    drawn = np.repeat(unseen(grey, 0, grey.shape)[..., None], 3, axis=2)
    drawn[seen] = grey[seen][..., None]
    edges = np.zeros(grey.shape, bool)

    def enlarged(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        whole = np.zeros(grey.shape, bool)
        whole[seen] = view.enlarge(mask, grey.shape, Image.Resampling.NEAREST)
        return whole

    large: dict[int, Region] = {}
    for k in reversed(order):
        mask = enlarged(masks[k])
        # Around the group alone: fifty groups of a large photo would take minutes otherwise.
        around = _around(mask)
        inside = mask[around]
        large[k] = Region(around, inside)
        tint = signed_colour(strengths[k]).astype(np.float64)
        drawn[around][inside] = 0.45 * grey[around][inside][:, None] + 0.55 * tint
        edges[around] |= find_boundaries(inside, mode="inner")
    drawn[edges] = 0.7 * drawn[edges]
    if framed is not None:
        drawn[find_boundaries(enlarged(framed), mode="thick")] = FRAME
    return _numbered(drawn, order[:RANKS], large, _entries(order[:RANKS], labels, values, difference), strengths)


def _entries(order: Sequence[int], labels: Sequence[str], values: GroupValues, difference: float) -> list[str]:
    """Return the lines of the ranking: of each group its rank, its label and its share with the error."""
    sums, errors = values.integrated_gradients, values.integrated_gradients_error
    scale, unit = (abs(difference) / 100, " %") if difference else (1.0, "")
    entries = []
    for rank, k in enumerate(order, 1):
        before = order[rank - 2]
        alike = rank > 1 and abs(abs(sums[k]) - abs(sums[before])) <= np.hypot(errors[k], errors[before])
        error = f" ± {errors[k] / scale:.1g}" if errors[k] > 0 else ""
        label = labels[k] if len(labels[k]) <= LONGEST_LABEL else f"{labels[k][: LONGEST_LABEL - 1]}…"
        entries.append(f"{f'{ALIKE} ' if alike else ''}{rank}  {label}  {sums[k] / scale:+.3g}{error}{unit}")
    return entries


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that a mask covers, and one more on each side."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)


def _numbered(
    drawn: NDArray[np.uint8],
    order: Sequence[int],
    large: dict[int, Region],
    entries: Sequence[str],
    strengths: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Write the number of each of the first groups where it is widest, and the list of them at the right."""
    height, width = drawn.shape[:2]
    ruler = Sheet(1, 1)
    right = 3 * MARGIN + SWATCH + max(ruler.width_of(text, SIZE) for text in (HEADING, *entries))
    sheet = Sheet(width + right, max(height, LINE * (len(entries) + 2)))
    sheet.put(drawn)
    sheet.write(width + MARGIN, 4, HEADING, SIZE)
    for rank, (k, text) in enumerate(zip(order, entries, strict=True), 1):
        (rows, columns), inside = large[k]
        depth = distance_transform_edt(np.pad(inside, 1))
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        sheet.number(columns.start + column - 0.5, rows.start + row - 0.5, str(rank), SIZE)
        top = LINE * rank + 8
        swatch = np.tile(signed_colour(strengths[k]), (SWATCH, SWATCH, 1))
        sheet.put(swatch, width + MARGIN, top + 2)
        sheet.write(width + 2 * MARGIN + SWATCH, top, text, SIZE)
    return sheet.pixels()
