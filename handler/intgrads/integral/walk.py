r"""The error of an integral whose integrand is like a random walk, from neighbouring nodes.

A network of ReLUs has a gradient that jumps at thousands of places along a path, so that it is like a random walk: its
increments over h have the mean square :math:`\sigma^2 h`. :math:`\sigma^2` is measured by how far each node is from
the line through its neighbours, and for a random walk the mean square error of any rule follows,

.. math:: \sum_{gaps} \sigma^2 \int_{gap} e(\alpha)^2 d\alpha,
             \qquad e(\alpha) = 1 - \alpha - \sum_{\alpha_k > \alpha} w_k

where e is Peano's kernel of the rule (for the trapezoid :math:`h^2 \lVert\Delta G\rVert^2 / 12` a gap).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.interpolation import Stencils, ends_of_gaps, residuals

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorModel:
    r"""A rule's error on one path, for one target: known part and chance.

    Attributes
    ----------
    known : ndarray, (n,)
        The rule's weights minus those of a better reading.
    rates : Stencils
        What is normal with variance :math:`\sigma^2` for a random walk.
    squares : ndarray, (gaps,)
        The integral of the squared Peano kernel over each gap.
    scale : float
        What the chance is scaled by: 1 for a walk, less where the network is smooth.
    """

    known: Array
    rates: Stencils
    squares: Array
    scale: float = 1.0

    def of_gaps(self, values: Array) -> Array:
        """Return the variance that each gap adds, (gaps, …), for values (n, …) at the samples."""
        rates = self.rates.of(values) ** 2
        gaps = len(self.squares)
        if len(rates) < gaps:
            # Of each inner node; a gap has the mean of its two ends.
            rates = np.concatenate([rates[:1]] * ((gaps - len(rates) + 1) // 2) + [rates])
            rates = np.concatenate([rates] + [rates[-1:]] * (gaps + 1 - len(rates)))
            rates = (rates[1:] + rates[:-1]) / 2
        variances: Array = self.scale**2 * rates * self.squares.reshape(-1, *[1] * (rates.ndim - 1))
        return variances

    def chance(self, vectors: Array) -> float:
        """Return the chance alone: the root of the variances of all gaps and all entries of vectors (n, d)."""
        return float(np.sqrt(self.of_gaps(vectors).sum()))

    def of(self, values: Array) -> Array:
        """Return the estimated errors of integrals of signals (n, …) at the samples: numbers, each for itself."""
        known, variance = self.parts(values)
        errors: Array = np.sqrt(known**2 + variance)
        return errors

    def parts(self, values: Array) -> tuple[Array, Array]:
        """Return what of these errors is known, with its sign, and the variance of what is chance."""
        return np.tensordot(self.known, values, axes=1), self.of_gaps(values).sum(0)

    def norm(self, sketches: Array) -> float:
        """Return the estimated L2 norm of the error of vectors, given sketches (n, d) of them at the samples."""
        return float(np.linalg.norm(self.of(sketches)))


def peano_squares(alphas: Array, weights: Array) -> Array:
    """Return the integral of the squared Peano kernel of a rule over each gap of [0, 1], (gaps,)."""
    ends = ends_of_gaps(alphas)
    after = weights.sum() - np.concatenate([[0.0] if alphas[0] > 0 else [], np.cumsum(weights)])
    after = after[: len(ends) - 1]
    left, right = 1 - ends[:-1] - after, 1 - ends[1:] - after
    squares: Array = np.diff(ends) * (left**2 + left * right + right**2) / 3
    return squares


def rates(alphas: Array, others: int) -> Stencils:
    r"""Return combinations of nodes whose squares are :math:`\sigma^2` in the mean, for a random walk.

    How far each inner node is from the polynomial through `others` neighbours; of 0 neighbours, or of two nodes, the
    increments.
    """
    if others and len(alphas) > 2:
        stencils = residuals(alphas, others)
    else:
        first = np.arange(len(alphas) - 1)
        stencils = Stencils(np.stack([first, first + 1], axis=1), np.tile([-1.0, 1.0], (len(first), 1)))
    # A combination of a walk's values is one of its increments, the sums of the coefficients so far.
    increments = np.cumsum(stencils.coefficients, axis=1)[:, :-1]
    variances = (increments**2 * np.diff(alphas[stencils.nodes], axis=1)).sum(1)
    return Stencils(stencils.nodes, stencils.coefficients / np.sqrt(variances)[:, None])
