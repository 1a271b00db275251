"""Paths of integration: from a baseline x' to an input x. A new path is a class like the one here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class StraightPath:
    """The straight line from a baseline to an input, and the outputs to attribute.

    Attributes
    ----------
    input, baseline : Tensor, (*shape)
        x and x', on the network's device.
    targets : tuple of int or None
        Output indices; None for the class predicted at x.
    """

    input: Tensor
    baseline: Tensor
    targets: tuple[int, ...] | None = None

    def point(self, alpha: float) -> Tensor:
        """Return x' + alpha (x - x'), (*shape): exactly x at 1 and exactly x' at 0."""
        if alpha == 1:
            return self.input
        if alpha == 0:
            return self.baseline
        return torch.lerp(self.baseline, self.input, alpha)

    @cached_property
    def step(self) -> Tensor:
        """The path's derivative by alpha, x - x', (*shape), float64."""
        return (self.input - self.baseline).double()
