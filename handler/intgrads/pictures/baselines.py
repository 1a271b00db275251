"""Baselines of pictures: the picture x' at which an integration path starts.

A baseline stands for the absence of what is asked about. Black is the one of Sundararajan et al. (2017, arXiv
1703.01365); Sturmfels et al. (2020, doi 10.23915/distill.00022) compare the others.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from skimage.filters import gaussian

ImageBaseline = Literal["black", "zero", "white", "mean", "blur", "noise"]
IMAGE_BASELINES: tuple[str, ...] = get_args(ImageBaseline)

UNIFORM: ImageBaseline = "noise"
"""The random one."""


def image_baseline(
    name: ImageBaseline, pixels: NDArray[np.uint8], seed: int = 0
) -> NDArray[np.float32] | NDArray[np.uint8] | None:
    """Return the baseline of a picture, in pixel values.

    Parameters
    ----------
    name : str
        ``black``, ``white``: one colour. ``mean``: the picture's own mean colour. ``blur``: the picture under a
        Gaussian whose standard deviation is a tenth of its longer side. ``noise``: uniform noise in 0 … 255.
        ``zero``: zeros *after* normalising, so no pixel values exist for it.
    pixels : ndarray, (H, W, 3), uint8
        The picture at the network's size, RGB.
    seed : int, default 0
        Seed of ``noise``, at least 0; the others do not use it.

    Returns
    -------
    ndarray, (H, W, 3), 0 … 255, float32 or, where it has whole values alone, uint8; or None
        None for ``zero``: the caller takes zeros in the network's own units.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    shape = pixels.shape
    if name == "zero":
        return None
    if name == "black":
        return np.zeros(shape, np.uint8)
    if name == "white":
        return np.full(shape, 255, np.uint8)
    if name == "mean":
        colour = pixels.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        return np.broadcast_to(colour, shape).copy()
    if name == "blur":
        blurred = gaussian(pixels.astype(np.float32), sigma=max(shape[:2]) / 10, mode="nearest", channel_axis=-1)
        return np.asarray(blurred, np.float32)
    if name == "noise":
        return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)
    raise ValueError(f"unknown baseline {name!r}; choose one of {', '.join(IMAGE_BASELINES)}")
