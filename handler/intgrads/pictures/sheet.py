"""A sheet on which a drawing and what is written about it are put together, pixel for pixel, by matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from numpy.typing import NDArray

DPI = 100

POINTS = 72 / DPI
"""Of a letter's height in pixels."""


class Sheet:
    """A white sheet of a width and height in pixels; places are counted from its upper left corner.

    Parameters
    ----------
    width, height : int
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self.figure)

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        """Return axes at a place."""
        low = self.height - top - height
        bounds = left / self.width, low / self.height, width / self.width, height / self.height
        return self.figure.add_axes(bounds)

    def put(self, drawn: NDArray[np.uint8], left: int = 0, top: int = 0) -> None:
        """Put a drawing (h, w, 3) at a place."""
        place = self.axes(left, top, drawn.shape[1], drawn.shape[0])
        place.set_axis_off()
        place.imshow(drawn, interpolation="none", aspect="auto")

    def write(self, x: float, y: float, text: str, size: float, **how: Any) -> Text:
        """Write a text as it is, `size` pixels high, its upper left corner at a place unless `how` says otherwise."""
        how = {"va": "top", "ha": "left", **how}
        return self.figure.text(
            x / self.width, 1 - y / self.height, text, fontsize=size * POINTS, parse_math=False, **how
        )

    def number(self, x: float, y: float, text: str, size: float) -> None:
        """Write a number with a white edge around it, its middle at a place."""
        self.write(x, y, text, size, va="center", ha="center", path_effects=[withStroke(linewidth=3, foreground="w")])

    def width_of(self, text: str, size: float) -> int:
        """Return how many pixels a text takes."""
        drawn = self.write(0, 0, text, size)
        width = drawn.get_window_extent(self._canvas.get_renderer()).width
        drawn.remove()
        return int(np.ceil(width))

    def pixels(self) -> NDArray[np.uint8]:
        """Return the sheet as it is now, (height, width, 3)."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()
