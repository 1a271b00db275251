"""Attributions drawn by matplotlib, for notebooks: pixels as a map, other features as bars.

Blue raised the output, red lowered it, as everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS, RAISED, LOWERED = "RdBu", "#2166ac", "#b2182b"
"""matplotlib's map from red (it lowered the output) over white to blue (it raised it), and the two ends of bars."""

CLIP_PERCENTILE = 99.5
"""Pixels beyond this percentile are drawn in full colour."""

MOST_BARS = 40
"""Bars that are drawn: of more features those of the largest values."""


def draw(values: NDArray[Any], titles: Sequence[str], names: Sequence[str] | None = None) -> Figure:
    """Draw an attribution, one panel for each target, all on one scale.

    Parameters
    ----------
    values : ndarray, (T, H, W) or (T, N)
        Of pixels, or of features in a row.
    titles : sequence of str, length T
    names : sequence of str, length N, optional
        Of features in a row; by default their places.

    Raises
    ------
    ValueError
        If the values lie in any other way.
    """
    if values.ndim not in (2, 3):
        raise ValueError(f"only pixels (T, H, W) and features in a row (T, N) can be drawn, not {values.shape}")
    height = 4.0 if values.ndim == 3 else 1 + 0.25 * min(values.shape[1], MOST_BARS)
    figure = _figure()((4.5 * len(titles), height), layout="constrained")
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, of_target, title in zip(panels, values, titles, strict=True):
        axes.set_title(_literal(title))
        if values.ndim == 3:
            _map(axes, of_target, float(np.percentile(np.abs(values), CLIP_PERCENTILE)) or 1.0)
        else:
            _bars(axes, of_target, names or [str(k) for k in range(values.shape[1])])
    return figure


@cache
def _figure() -> type[Figure]:
    # Imported late, and without pyplot, which would keep every figure.
    from matplotlib.figure import Figure

    class Drawing(Figure):
        """A figure that a notebook shows by itself: those that pyplot did not make it would only name."""

        def _repr_png_(self) -> bytes:
            written = io.BytesIO()
            self.savefig(written, format="png")
            return written.getvalue()

    return Drawing


def _map(axes: Axes, pixels: NDArray[Any], most: float) -> None:
    axes.imshow(pixels, cmap=COLOURS, vmin=-most, vmax=most)
    axes.set_axis_off()


def _bars(axes: Axes, scores: NDArray[Any], names: Sequence[str]) -> None:
    kept = np.sort(np.argsort(-np.abs(scores), kind="stable")[:MOST_BARS])
    places = np.arange(len(kept))
    axes.barh(places, scores[kept], color=[RAISED if score > 0 else LOWERED for score in scores[kept]])
    axes.set_yticks(places, [_literal(names[k]) for k in kept])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)


def _literal(text: str) -> str:
    """Return a text as matplotlib draws it letter by letter: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")
