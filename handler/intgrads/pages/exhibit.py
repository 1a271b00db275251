"""What a page shows of one answer: what its template writes, and what its script draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exhibit:
    """The input of an answer, and its attribution.

    Attributes
    ----------
    template : str
        Of a kind of input: a file's name in templates/.
    shown : mapping
        What that template writes.
    data : mapping
        What the script draws, as plain JSON.
    """

    template: str
    shown: Mapping[str, Any]
    data: Mapping[str, Any]
