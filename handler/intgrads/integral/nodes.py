"""Where a path is evaluated: the one face of fixed rules (fixed.py) and of refinements (refinement.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from intgrads.integral.convergence import Samples
from intgrads.integral.quadrature import Rule
from intgrads.integral.walk import ErrorModel


class Nodes(Protocol):
    """What an integral asks of its nodes. Rounds of them are asked for until there are no more."""

    @property
    def name(self) -> str:
        """As answers call it."""
        ...

    @property
    def most(self) -> int:
        """Points that may be computed in all, besides the ends of the path where they are no nodes."""
        ...

    @property
    def tolerance(self) -> float:
        """The error that counts as converged, as a part of the map and of the difference."""
        ...

    @property
    def known_weights(self) -> Mapping[float, float] | None:
        """The weight of each node, where it is known beforehand, so that no gradient need be held for it.

        Rounds that follow may change it; then those points are asked for again.
        """
        ...

    def start(self, room: int | None = None) -> list[float]:
        """Return where the first round needs gradients, in [0, 1], increasing, given how many can be held."""
        ...

    def more(self, samples: Samples, affordable: int, room: int | None) -> list[float]:
        """Return the nodes of the next round; none when done.

        Parameters
        ----------
        samples : Samples
            At all nodes of the rounds before.
        affordable : int
            Points that may still be computed.
        room : int or None
            Gradients that can still be held; None for any number.
        """
        ...

    def rule(self, samples: Samples) -> Rule:
        """Return all nodes with their weights."""
        ...

    def models(self, samples: Samples) -> list[ErrorModel]:
        """Return the error of the map for each target."""
        ...
