"""What happens along a path: f at each point that was computed, and what each node adds to the integral."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Profile:
    """A path as it was seen, for T targets and n nodes.

    Attributes
    ----------
    computed : ndarray, (m,), float64
        Every α at which the network was computed, ascending, 0 and 1 among them.
    values : ndarray, (T, m), float64
        f there.
    alphas, step_sizes : ndarray, (n,), float64
        The nodes among them, and their weights.
    along : ndarray, (T, n, …), float32
        Sums of the gradient at each node times x - x'. Weighted and added up they are sums of integrated gradients.
    """

    computed: NDArray[np.float64]
    values: NDArray[np.float64]
    alphas: NDArray[np.float64]
    step_sizes: NDArray[np.float64]
    along: NDArray[np.float32]

    def thinned(self, most: int) -> Profile:
        """Return it with at most so many nodes: each stands for a run of neighbours, and is their weighted mean."""
        count = len(self.alphas)
        if count <= most:
            return self
        starts = np.linspace(0, count, most, endpoint=False).astype(int)

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.add.reduceat(values, starts, axis=-1)
            # A refinement's single weights may be negative, and cancel.
            return np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)

        weights = np.add.reduceat(self.step_sizes, starts)
        along = mean(np.moveaxis(self.along.astype(np.float64), 1, -1) * self.step_sizes)
        alphas = mean(self.alphas * self.step_sizes)
        return Profile(self.computed, self.values, alphas, weights, np.moveaxis(along, -1, 1).astype(np.float32))
