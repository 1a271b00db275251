"""Refinement: nodes where the integral needs them, until its error is met.

The path is cut into panels of three nodes, both ends and the middle. f is known at the nodes, so the error of each
panel is known exactly, |quadrature - change of f|, where a textbook's adaptive rule has to estimate it. The worst
panels are halved; all their nodes stay nodes. That error is of a sum over the features, in which theirs cancel, so
how far the features' own integrands bend within a panel counts as much for where it is halved.

Where a network is smooth along the path Simpson's rule gains two orders; where its slope jumps, as with ReLUs, the
trapezoid over the same nodes errs less. Each eighth of the path takes the one whose panels err less in sum, before any
cancelling.

Leads: Bhat and Raychowdhury (arXiv 2302.11107) allot nodes by the change of f; halving finds a change however near to
an end of the path it lies, as with networks that normalise their input's scale away and a baseline of zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.convergence import EIGHTHS, Samples, summed
from intgrads.integral.nodes import Bend
from intgrads.integral.quadrature import Rule

LEAST_REFINEMENT = 2 * EIGHTHS + 1
"""Nodes of the first round: a panel in each eighth of the path."""

SIMPSON_GAIN = 2.0
"""Simpson's rule is taken where the trapezoid's panels err this many times as much."""

SHARE = 0.3
"""Part of what is to be mended that one round mends: the worst panels that make it up are halved."""

LEAST_WIDTH = 2.0**-44
"""No panel is made narrower: beside a node of order 1 there are no more points between."""

TRAPEZOID = np.array([1, 2, 1]) / 4
SIMPSON = np.array([1, 4, 1]) / 6


class Refinement:
    """Chooses nodes on [0, 1] in rounds.

    Parameters
    ----------
    tolerance : float
        Met when the local error is at most this part of |f(x) - f(x')|, for every target.
    max_evaluations : int
        Most nodes.
    start_nodes : int, default 0
        Nodes of the first round, rounded up to a multiple of 16, and one.
    """

    name = "refined"
    known_weights = None

    def __init__(self, tolerance: float, max_evaluations: int, start_nodes: int = 0) -> None:
        self.tolerance = tolerance
        self.most = max_evaluations
        wanted = -(-max(start_nodes - 1, 1) // (2 * EIGHTHS))
        most = max(1, (max_evaluations - 1) // (2 * EIGHTHS))
        panels = EIGHTHS * min(wanted, most)
        grid = np.arange(2 * panels + 1) / (2 * panels)
        self._panels = np.stack([grid[:-2:2], grid[1::2], grid[2::2]], axis=1)

    def start(self) -> list[float]:
        """Return the nodes of the first round."""
        nodes: list[float] = np.unique(self._panels).tolist()
        return nodes

    def more(self, samples: Samples, bend: Bend) -> list[float]:
        """Halve the worst panels and return the nodes that are missing for it; none when done.

        Parameters
        ----------
        samples : Samples
            At all nodes that were returned so far.
        bend : Bend
            How far the features' integrands at a panel's nodes are from a straight line.
        """
        errors, _ = self._errors(samples)
        if (summed(errors, self._panels[:, 1]) <= samples.allowed(self.tolerance)).all():
            return []
        bends = np.stack([(b - a) * bend(a, m, b) for a, m, b in self._panels.tolist()])
        worst = _share(errors / samples.allowed(self.tolerance)) + _share(bends)
        worst[self._panels[:, 2] - self._panels[:, 0] <= LEAST_WIDTH] = 0
        order = np.argsort(-worst, kind="stable")
        several = int(np.searchsorted(np.cumsum(worst[order]), SHARE * worst.sum())) + 1
        affordable = (self.most - len(samples.alphas)) // 2
        chosen = order[: min(several, affordable)]
        chosen = chosen[worst[chosen] > 0]
        if not len(chosen):
            return []
        a, m, b = self._panels[chosen].T
        left, right = np.stack([a, (a + m) / 2, m], axis=1), np.stack([m, (m + b) / 2, b], axis=1)
        panels = np.concatenate([np.delete(self._panels, chosen, axis=0), left, right])
        self._panels = panels[np.argsort(panels[:, 0])]
        nodes: list[float] = np.sort(np.concatenate([left[:, 1], right[:, 1]])).tolist()
        return nodes

    def error(self, samples: Samples) -> NDArray[np.float64]:
        """Return the sum over the parts of the path of the absolute error that the rule makes there, (T,)."""
        errors, _ = self._errors(samples)
        return summed(errors, self._panels[:, 1])

    def converged(self, samples: Samples, delta: NDArray[np.float64]) -> NDArray[np.bool_]:  # noqa: ARG002
        """Return whether the local error met the tolerance, (T,)."""
        met: NDArray[np.bool_] = self.error(samples) <= samples.allowed(self.tolerance)
        return met

    def rule(self, samples: Samples) -> Rule:
        """Return the nodes and weights that the panels make up."""
        _, simpson = self._errors(samples)
        shares = np.where(simpson[:, None], SIMPSON, TRAPEZOID) * (self._panels[:, 2:] - self._panels[:, :1])
        weights = np.zeros(len(samples.alphas))
        np.add.at(weights, np.searchsorted(samples.alphas, self._panels), shares)
        return Rule(samples.alphas, weights)

    def _errors(self, samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return each panel's signed error, (panels, T), and whether Simpson's rule is taken there, (panels,)."""
        at = np.searchsorted(samples.alphas, self._panels)
        widths = (self._panels[:, 2] - self._panels[:, 0])[:, None]
        with np.errstate(invalid="ignore"):
            change = samples.values[at[:, 2]] - samples.values[at[:, 0]]
            slopes = samples.slopes[at]
            trapezoid = widths * np.einsum("n,pnt->pt", TRAPEZOID, slopes) - change
            simpson = widths * np.einsum("n,pnt->pt", SIMPSON, slopes) - change
        part = (self._panels[:, 1] * EIGHTHS).astype(np.int64)
        sums = np.zeros((2, EIGHTHS))
        np.add.at(sums[0], part, np.abs(trapezoid).sum(1))
        np.add.at(sums[1], part, np.abs(simpson).sum(1))
        smooth = (sums[0] > SIMPSON_GAIN * sums[1])[part]
        return np.where(smooth[:, None], simpson, trapezoid), smooth


def _share(quantity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each panel's part, in its worst target, of a quantity (panels, T); zeros where there is none at all."""
    worst: NDArray[np.float64] = np.abs(quantity).max(axis=1)
    worst /= worst.sum() or 1.0
    return worst
