"""Arrays as a page's data holds them: whole numbers in base64, and what they are parts of.

A map as JSON would take ten times the room. The script that reads them is page.js.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_16, MOST_8 = 2**15 - 1, 2**7 - 1


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """Return values as 16-bit parts of the largest: off by at most 1/65,534 of it."""
    largest = float(np.abs(values).max(initial=0.0))
    parts = np.rint(values / (largest or 1.0) * MOST_16).astype("<i2")
    return {"largest": largest, "int16": base64.b64encode(parts.tobytes()).decode()}


def packed_frames(frames: NDArray[Any]) -> dict[str, Any]:
    """Return frames (n, Q), each as 8-bit parts of its largest value, on the scale of their roots.

    Off by at most 1/127 of the largest, and by less the smaller a value is.
    """
    frames = frames.astype(np.float64)
    largest = np.abs(frames).max(axis=1, initial=0.0)
    parts = frames / np.where(largest > 0, largest, 1.0)[:, None]
    roots = np.rint(np.sign(parts) * np.sqrt(np.abs(parts)) * MOST_8).astype(np.int8)
    return {"largest": largest.tolist(), "int8": base64.b64encode(roots.tobytes()).decode()}
