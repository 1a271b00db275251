"""Where a path is evaluated: the one face of fixed rules (quadrature.py) and of refinements (refinement.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.convergence import Samples
from intgrads.integral.quadrature import Rule

Bend = Callable[[float, float, float], NDArray[np.float64]]
"""From nodes a, m, b to the L1 norm of (g(a) - 2 g(m) + g(b)) / 4 times (x - x'), for each target, (T,)."""


class Nodes(Protocol):
    """What an integral asks of its nodes. Rounds of them are asked for until there are no more."""

    @property
    def name(self) -> str:
        """As answers call it."""
        ...

    @property
    def most(self) -> int:
        """Nodes that there may be in all."""
        ...

    @property
    def known_weights(self) -> Mapping[float, float] | None:
        """The weight of each node, where it is known beforehand, so that no gradient need be held for it."""
        ...

    def start(self) -> list[float]:
        """Return the nodes of the first round, in [0, 1], increasing."""
        ...

    def more(self, samples: Samples, bend: Bend) -> list[float]:
        """Return the nodes of the next round, given what is known at all of those before; none when done."""
        ...

    def rule(self, samples: Samples) -> Rule:
        """Return all nodes with their weights."""
        ...

    def error(self, samples: Samples) -> NDArray[np.float64]:
        """Return the local error, (T,); see :mod:`intgrads.integral.convergence`."""
        ...

    def converged(self, samples: Samples, delta: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether the integral is as near as it should be, (T,), given its convergence delta, (T,)."""
        ...
