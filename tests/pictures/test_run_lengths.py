"""Run lengths are COCO's: there and back, and its strings; what is none is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from intgrads.errors import RequestError
from intgrads.pictures.run_lengths import decode_mask, encode_mask
from numpy.typing import NDArray

masks = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(lambda shape: arrays(bool, shape))


@given(masks)
def test_there_and_back(mask: NDArray[np.bool_]) -> None:
    encoded = encode_mask(mask)
    assert sum(encoded["counts"]) == mask.size
    np.testing.assert_array_equal(decode_mask(encoded, "it", mask.shape), mask)


def test_by_hand() -> None:
    """Down the columns, zeros first."""
    mask = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    assert encode_mask(mask) == {"size": [2, 3], "counts": [2, 3, 1]}
    assert encode_mask(~mask) == {"size": [2, 3], "counts": [0, 2, 3, 1]}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        # As pycocotools writes them.
        ("231", [2, 3, 1]),
        ("023ON2", [0, 2, 3, 1, 1, 3]),
        ("P`0", [512]),
        ("3X12OR3", [3, 40, 2, 39, 100]),
    ],
)
def test_strings(text: str, counts: list[int]) -> None:
    mask = decode_mask({"size": [1, sum(counts)], "counts": text}, "it", (1, sum(counts)))
    assert encode_mask(mask)["counts"] == counts


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ({"size": [2, 3], "counts": [2, 3]}, "add up to 6"),
        ({"size": [2, 3], "counts": [7, -1]}, "add up to 6"),
        ({"size": [2, 3], "counts": [2.0, 4.0]}, "add up to 6"),
        ({"size": [2, 3], "counts": [True, 5]}, "add up to 6"),
        ({"size": [2, 3], "counts": "\x00"}, "add up to 6"),
        ({"size": [2, 3], "counts": "o" * 1000}, "add up to 6"),
        ({"size": [2, 3]}, "add up to 6"),
        ({"size": [3, 2], "counts": [6]}, r"send \[2, 3\]"),
        ({"size": "2x3", "counts": [6]}, r"send \[2, 3\]"),
        ({"counts": [6]}, r"send \[2, 3\]"),
    ],
)
def test_what_is_none_is_refused(encoded: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        decode_mask(encoded, "it", (2, 3))
