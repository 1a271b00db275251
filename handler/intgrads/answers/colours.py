"""The colours of signed figures, and the order in which groups are told."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray

from intgrads.integral.drawing import COLOURS

MAGNITUDES = "inferno"
"""matplotlib's map from dark (no attribution) to bright (the most)."""

STEPS = 33
"""Colours of a map that a page has; it draws those between them itself."""

ALIKE = "≈"
"""Before a group that cannot be told from the one above it."""

FRAME = (255, 200, 0)
"""The colour of a frame, which no signed figure has."""

DEEPEST = 0.6
"""Part of the map that is used: its ends are too dark to read black letters on."""


def signed_colour(strength: NDArray[np.float64] | float) -> NDArray[np.uint8]:
    """Return the colours (…, 3) of signed strengths from -1 to 1."""
    return np.array(matplotlib.colormaps[COLOURS](0.5 + 0.5 * DEEPEST * strength, bytes=True))[..., :3]


def ranking(figures: NDArray[np.float64]) -> list[int]:
    """Return the order of figures by their size, the largest first, equal ones in the order given."""
    order: list[int] = np.argsort(-np.abs(figures), kind="stable").tolist()
    return order


def ladder() -> dict[str, list[list[int]]]:
    """Return the colours of strengths from -1 to 1, and of magnitudes from 0 to 1, as a page's data has them."""
    magnitudes = np.array(matplotlib.colormaps[MAGNITUDES](np.linspace(0, 1, STEPS), bytes=True))[..., :3]
    return {"signed": signed_colour(np.linspace(-1, 1, STEPS)).tolist(), "magnitude": magnitudes.tolist()}


def largest_of(scores: NDArray[np.float64]) -> float:
    """Return the largest absolute score; 0 of none."""
    return float(np.abs(scores).max(initial=0.0))
