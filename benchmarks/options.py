"""What a benchmark is told, and what it gives back: the one face of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

Row = dict[str, object]
"""Of a table: what stands in each column. A ratio is ``{"median", "low", "high"}`` over the rounds."""

Tables = dict[str, list[Row]]
"""Rows by the name that the table has in the docs."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes
    ----------
    device : torch.device
    threads : int
        CPU threads of PyTorch.
    rounds : int
        Rounds in which the ways alternate.
    tiny : bool
        Whether to measure the smallest cases alone, to see that a benchmark runs; nothing is written then.
    only : sequence of str
        Words, one of which the name of a case must have; all cases where there are none.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int = 1
    rounds: int = 5
    tiny: bool = False
    only: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether a case is to be measured."""
        return not self.only or any(word in name for word in self.only)
