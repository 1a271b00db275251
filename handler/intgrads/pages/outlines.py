"""Masks as paths of SVG: outlines that a browser draws at any size, and that can be pointed at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours

TOLERANCE = 0.4
"""Pixels of the mask by which an outline may be simplified."""


def outline(mask: NDArray[np.bool_]) -> str:
    """Return the outline of a mask (h, w) as the data of a path, in its pixels; holes need ``fill-rule: evenodd``.

    A mask's pixel in row r and column c covers r to r + 1 and c to c + 1. Of an empty mask there is nothing.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return ""
    # The mask's surroundings alone: hundreds of groups of one picture are small.
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    drawn = []
    for contour in find_contours(np.pad(part, 1).astype(np.float32), 0.5):
        points = np.add(approximate_polygon(contour, TOLERANCE), (rows[0] - 0.5, columns[0] - 0.5))
        drawn.append("M" + "L".join(f"{x:.4g} {y:.4g}" for y, x in points[:-1].tolist()) + "Z")
    return "".join(drawn)
