"""Arrays in a page's data: off by no more than is said."""

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from intgrads.pages.packed import packed, packed_frames
from numpy.typing import NDArray

VALUES = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, st.integers(1, 30), elements=VALUES))
def test_a_map_is_off_by_a_part_of_its_largest_value(values: NDArray[np.float32]) -> None:
    held = packed(values)
    parts = np.frombuffer(base64.b64decode(held["int16"]), "<i2") / 32767
    np.testing.assert_allclose(parts * held["largest"], values, rtol=0, atol=held["largest"] / 65_000)


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=VALUES))
def test_frames_are_each_on_a_scale_of_their_own(frames: NDArray[np.float32]) -> None:
    held = packed_frames(frames)
    roots = np.frombuffer(base64.b64decode(held["int8"]), np.int8).reshape(frames.shape) / 127
    largest = np.array(held["largest"])[:, None]
    assert (np.abs(np.sign(roots) * roots**2 * largest - frames) <= largest / 120).all()


def test_zeros_stay_zeros() -> None:
    assert packed(np.zeros((2, 3)))["largest"] == 0
    assert packed_frames(np.zeros((2, 3)))["largest"] == [0, 0]
