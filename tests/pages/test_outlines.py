"""Outlines of masks: what lies within them is the mask."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intgrads.pages.outlines import outline
from matplotlib.path import Path
from numpy.typing import NDArray


def filled(path: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centre is within a path, by the rule that holes are left out."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, int)
    for ring in re.findall(r"M([^Z]*)Z", path):
        points = np.array([[float(x) for x in pair.split()] for pair in ring.split("L")])
        inside += Path(points).contains_points(np.c_[columns.ravel(), rows.ravel()]).reshape(shape)
    odd: NDArray[np.bool_] = inside % 2 == 1
    return odd


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12))
def test_the_outline_holds_the_mask(seed: int, height: int, width: int) -> None:
    blocks = np.random.default_rng(seed).random((height, width)) < 0.5
    mask = np.kron(blocks, np.ones((4, 4), bool))
    if not mask.any():
        assert outline(mask) == ""
        return
    # A corner may be cut: of a block of 4 × 4 at most its four corners.
    assert (filled(outline(mask), mask.shape) != mask).mean() <= 0.25


def test_a_square_with_a_hole() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:18, 3:25] = True
    mask[8:12, 10:20] = False
    path = outline(mask)
    assert path.count("M") == path.count("Z") == 2
    assert (filled(path, mask.shape) != mask).sum() <= 8


@pytest.mark.parametrize("place", [(0, 0), (19, 29), (0, 29), (10, 15)])
def test_a_single_pixel_is_where_it_is(place: tuple[int, int]) -> None:
    mask = np.zeros((20, 30), bool)
    mask[place] = True
    assert (filled(outline(mask), mask.shape) == mask).all()
