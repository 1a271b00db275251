"""Local polynomials through neighbouring nodes: what they integrate to, and how far a node is from its neighbours'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NARROW = 4.5
"""A gap this many times as wide as one near it is read as a straight line: the ends of the narrow one would tell the
polynomial a slope, which beside a jump is without bounds. Halving often makes ratios of 2 and 4."""


@dataclass(frozen=True)
class Stencils:
    """Linear combinations of a few neighbouring nodes each.

    Attributes
    ----------
    nodes : ndarray, (k, p), int64
        Which nodes.
    coefficients : ndarray, (k, p)
    """

    nodes: NDArray[np.int64]
    coefficients: Array

    def of(self, values: Array) -> Array:
        """Return the combinations (k, …) of values (n, …) at the nodes."""
        combined: Array = np.einsum("kp,kp...->k...", self.coefficients, values[self.nodes])
        return combined

    def weights(self, count: int) -> Array:
        """Return the weight of each of `count` nodes, (count,), in the sum of all combinations."""
        weights = np.zeros(count)
        np.add.at(weights, self.nodes, self.coefficients)
        return weights


def ends_of_gaps(alphas: Array) -> Array:
    """Return where the gaps of [0, 1] between nodes begin and end, (gaps + 1,)."""
    before, after = ([0.0] if alphas[0] > 0 else []), ([1.0] if alphas[-1] < 1 else [])
    return np.concatenate([before, alphas, after])


def gap_integrals(alphas: Array, points: int) -> Stencils:
    """Return the integral over each gap of [0, 1] of the polynomial through the nodes around it.

    Parameters
    ----------
    alphas : ndarray, (n,)
        Nodes in [0, 1], increasing.
    points : int
        Even; 2 makes the trapezoid rule, 4 piecewise cubics, with a straight line where a gap near is far narrower.
        All nodes where there are fewer.

    Returns
    -------
    Stencils
        One for each gap; the first begins at 0 and the last ends at 1, whether these are nodes or not.
    """
    points = min(points, len(alphas))
    ends = ends_of_gaps(alphas)
    last = np.searchsorted(alphas, ends[:-1], side="right")  # the first node right of each gap's start
    first = np.clip(last - points // 2, 0, len(alphas) - points)
    nodes = first[:, None] + np.arange(points)
    at = alphas[nodes]
    middles, widths = (ends[:-1] + ends[1:]) / 2, np.diff(ends)
    # Around the gap and on the scale of its nodes: powers of plain alphas near 0 would be all alike.
    scale = np.maximum(at[:, -1] - at[:, 0], widths)
    powers = np.arange(points)
    half = (widths / scale / 2)[:, None]
    moments = (half ** (powers + 1) - (-half) ** (powers + 1)) / (powers + 1)
    systems = ((at - middles[:, None]) / scale[:, None])[:, None, :] ** powers[None, :, None]
    coefficients = scale[:, None] * np.linalg.solve(systems, moments[..., None])[..., 0]
    # Between two nodes, the narrowest gap of the polynomial's own.
    between = np.isin(ends[:-1], alphas) & np.isin(ends[1:], alphas)
    narrow = np.flatnonzero(between & (widths > NARROW * np.diff(at, axis=1).min(axis=1, initial=np.inf)))
    own = (nodes[narrow] == last[narrow, None] - 1) | (nodes[narrow] == last[narrow, None])
    coefficients[narrow] = own * widths[narrow, None] / 2
    return Stencils(nodes, coefficients)


def residuals(alphas: Array, others: int) -> Stencils:
    """Return how far each inner node's value is from the polynomial through its neighbours.

    Parameters
    ----------
    alphas : ndarray, (n,)
        Increasing, at least 3.
    others : int
        Neighbours of each node that are taken; even, as many on either side where there are.

    Returns
    -------
    Stencils
        One for each node but the first and the last.
    """
    others = min(others, (len(alphas) - 1) // 2 * 2)
    inner = np.arange(1, len(alphas) - 1)
    first = np.clip(inner - others // 2, 0, len(alphas) - 1 - others)
    nodes = first[:, None] + np.arange(others + 1)
    at = alphas[nodes]
    own = inner - first
    distances = alphas[inner][:, None] - at
    distances[np.arange(len(inner)), own] = 1.0  # left out of the products below
    between = at[:, :, None] - at[:, None, :]
    diagonal = np.arange(others + 1)
    between[:, diagonal, diagonal] = 1.0
    between[np.arange(len(inner)), :, own] = 1.0
    lagrange = distances.prod(1)[:, None] / distances / between.prod(2)
    coefficients = -lagrange
    coefficients[np.arange(len(inner)), own] = 1.0
    return Stencils(nodes, coefficients)
