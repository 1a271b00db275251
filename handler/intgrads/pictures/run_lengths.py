"""Masks as run lengths, in the format of COCO (Lin et al., ECCV 2014, and its API).

A mask is read down its columns; ``counts`` are the lengths of its runs of zeros and ones in turn, zeros first. They
stand as a list, or as a string that holds five bits a character, the difference to the run before the last from the
fourth on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intgrads.errors import RequestError

Size = tuple[int, int]


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask (H, W) as ``{"size": [H, W], "counts": [...]}``."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff(changes, prepend=0, append=pixels.size)
    return {"size": list(mask.shape), "counts": counts.tolist()}


def decode_mask(encoded: Any, name: str, *sizes: Size) -> NDArray[np.bool_]:
    """Return the mask (H, W) of run lengths.

    Parameters
    ----------
    encoded : dict
        ``size`` and ``counts``.
    name : str
        What an error calls it.
    *sizes : (int, int)
        Height and width that it may have.

    Raises
    ------
    RequestError
        If it is no such thing, or its size is another.
    """
    size, counts = encoded.get("size"), encoded.get("counts")
    if not isinstance(size, list) or any(type(side) is not int for side in size) or tuple(size) not in sizes:
        wanted = " or ".join(f"[{height}, {width}]" for height, width in dict.fromkeys(sizes))
        raise RequestError(f"{name} has the size {str(size)[:40]}; send {wanted}", "groups")
    if isinstance(counts, str):
        counts = _from_string(counts)
    whole = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise RequestError(
            f"the counts of {name} are not the lengths of runs, whole numbers that add up to {size[0] * size[1]}",
            "groups",
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def _from_string(text: str) -> list[int] | None:
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if not shift else None
