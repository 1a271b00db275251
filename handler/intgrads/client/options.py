"""What may be asked of a server, typed: the fields of requests as arguments in Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypedDict


class Options(TypedDict, total=False):
    """The fields of a request, all but the input and the format; ``docs/requests.md`` says what each of them is."""

    target_class: str | int | Sequence[str | int]
    against: str | int | Sequence[str | int]
    output: str
    n_steps: int
    method: str
    tolerance: float
    max_evaluations: int
    precision: str
    baseline: str | Sequence[str]
    baseline_data: Any
    verify: bool
    seed: int
    fields: Sequence[str]
    style: str
    groups: Any
    kept_share: float
    superpixel_method: str
    n_superpixels: int
    group_pixels: bool
    segment: bool
    score_threshold: float
    target_instance: int
    target: str


def value_of(written: Any) -> Any:
    """Return what stands for a field: JSON where it is some, as ``3`` or a list, else itself."""
    if isinstance(written, str):
        with suppress(ValueError, RecursionError):
            return json.loads(written)
    return written
