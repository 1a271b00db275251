r"""How far the error is below that of a random walk, where a network is smooth: by a factor of 3 to 1,000.

Two things tell, and neither alone is sure. Both are compared with what a walk foretells (walk.py).

**Half of the nodes against all.** What cubics through every second node integrate to is a vector, and its distance
from what they do through all nodes is nearly its error. How much of it is left with all nodes depends on how the nodes'
distances from their neighbours' line grow with the gap: on a walk with its root, and half of the nodes then err twice
as much; on a smooth network with its square, and cubics err :math:`2^4` times as much or more.

**f itself.** It is known at each node, and with it the integral of the *sum* of G over any part of the path, and, by
parts, against any smooth weighting. So the error that a walk foretells for the sum is held against the true one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from intgrads.integral.convergence import Samples
from intgrads.integral.interpolation import ends_of_gaps, gap_integrals
from intgrads.integral.walk import ErrorModel, peano_squares, rates

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trust:
    """How far what tells of smoothness is believed, in octaves below the error of a walk.

    Attributes
    ----------
    by_f, by_nodes : (float, float)
        From where to where each is believed to tell a smooth network. What only one of them says is chance.
    below : float
        Octaves by which smooth networks err less than the mean of what the two say, in the median.
    most : float
        Octaves that are believed at most.
    """

    by_f: tuple[float, float]
    by_nodes: tuple[float, float]
    below: float
    most: float


EQUIDISTANT = Trust((0.3, 0.9), (-0.2, 0.2), 0.7, np.inf)
GAUSS = Trust((0.3, 0.9), (-0.9, 0.9), 0.7, np.inf)
REFINED = Trust((0.5, 1.0), (0.0, 0.5), 0.0, 1.4)
"""Rounds of a refinement go on until the estimate is small, and would end at the first that is small by chance."""

BY_ORDER = 5.0
"""What the nodes of Gauss say instead of their halves: this many octaves for each one by which four neighbours foretell
a node better than two."""

UNFORESEEN, MOST_UNFORESEEN = 2.5, 3.0
"""True errors of the sum of more than 2.5 times the foretold ones are no chance: something lies between the nodes. The
estimate is then raised, three times at most; of what no node has seen, the convergence delta tells more."""

MOST_WEIGHTINGS = 64


def scale(trust: Trust, by_f: float, by_nodes: float) -> float:
    """Return what to scale the chance of a walk by.

    Parameters
    ----------
    trust : Trust
    by_f : float
        True errors of the sum, as a part of those that a walk foretells.
    by_nodes : float
        The error that the nodes tell of, as a part of that of a walk.
    """
    if by_f >= UNFORESEEN:
        return min(by_f / UNFORESEEN, MOST_UNFORESEEN)
    f, nodes = (-float(np.log2(max(part, 1e-12))) for part in (by_f, by_nodes))
    believed = _within(f, *trust.by_f) * _within(nodes, *trust.by_nodes)
    octaves = (max(f, 0.0) + max(nodes, 0.0)) / 2 + trust.below
    return float(2.0 ** -min(believed * octaves, trust.most))


def _within(number: float, low: float, high: float) -> float:
    return float(np.clip((number - low) / (high - low), 0, 1))


def by_halves(alphas: Array, vectors: Array) -> float:
    """Return the error of cubics through all nodes, as halves of them tell it.

    Parameters
    ----------
    alphas : ndarray, (n,)
    vectors : ndarray, (n, d)
    """
    halves = [(alphas[k::2], vectors[k::2]) for k in (0, 1)]
    of_all = _integral(alphas, vectors)
    off = _root_mean_square([float(np.linalg.norm(_integral(*half) - of_all)) for half in halves])
    if not off:
        return 0.0
    part = np.clip(_growth(alphas, vectors), 0, 1)
    walk, power = _left(alphas)
    return float(off * walk ** (1 - part) * power**part)


def _growth(alphas: Array, vectors: Array) -> float:
    """Return how the distances from the line through two neighbours grow with the gap, in octaves beyond a walk's.

    0 on a walk and 1.5 where gaps are narrow for what is smooth; from 1 on the cubics' own order is seen.
    """
    halves = [(alphas[k::2], vectors[k::2]) for k in (0, 1) if len(alphas[k::2]) > 2]
    wide, narrow = _rate(halves), _rate([(alphas, vectors)])
    return float(np.log2(wide / narrow)) if wide and narrow else 0.0


def _integral(alphas: Array, vectors: Array) -> Array:
    integral: Array = gap_integrals(alphas, 4).weights(len(alphas)) @ vectors
    return integral


def _rate(several: list[tuple[Array, Array]]) -> float:
    return _root_mean_square(np.concatenate([np.linalg.norm(rates(a, 2).of(v), axis=1) for a, v in several]))


def _left(alphas: Array) -> tuple[float, float]:
    """Return what is left, with all nodes, of the distance between cubics through halves and through all.

    For a walk, by the variances, and for the fourth power, the first that cubics are not exact for, by the errors of
    all gaps.
    """
    variance, error = _errors_of_cubics(alphas)
    halves = [_errors_of_cubics(alphas[k::2]) for k in (0, 1)]
    walk = np.sqrt(variance / np.mean([max(half[0] - variance, variance) for half in halves]))
    return float(walk), error / _root_mean_square([half[1] - error for half in halves])


def _errors_of_cubics(alphas: Array) -> tuple[float, float]:
    cubics = gap_integrals(alphas, 4)
    powers = cubics.of(alphas**4) - np.diff(ends_of_gaps(alphas) ** 5) / 5
    return float(peano_squares(alphas, cubics.weights(len(alphas))).sum()), float(np.abs(powers).sum())


def by_order(model: ErrorModel, alphas: Array, vectors: Array) -> float:
    """Return the error as a part of a walk's, as the neighbours of Gauss's nodes tell it."""
    two, four = (replace(model, rates=rates(alphas, others)).chance(vectors) for others in (2, 4))
    return (four / two) ** BY_ORDER if two else 1.0


def weighted_errors(model: ErrorModel, samples: Samples, weights: Array, polynomials: bool) -> Array:
    r"""Return true errors of the sum of G as a part of the foretold ones, (T,), over several weightings v.

    By parts :math:`\int v f' = [v f] - \int v' f`. f is smoother than f' by one order, so that the same nodes integrate
    the right side well. A weighting must be one that the rule itself makes no error on: Legendre polynomials for
    Gauss's, and for equidistant nodes cosines that vanish at both ends, where such rules err. They read the spectrum of
    f' beyond what the nodes themselves resolve.
    """
    alphas = samples.alphas
    ends = ends_of_gaps(alphas)
    middles = (ends[1:] + ends[:-1]) / 2
    n = len(alphas)
    count = min(max(4, n // 4 if polynomials else n // 2), MOST_WEIGHTINGS)
    if polynomials:
        norms = np.sqrt(2 * np.arange(count) + 1)
        weighting = legendre.legvander(2 * alphas - 1, count - 1) * norms
        slopes = 2 * legendre.legval(2 * alphas - 1, legendre.legder(np.eye(count))).T * norms
        between = legendre.legvander(2 * middles - 1, count - 1) * norms
    else:
        turns = np.pi * np.arange(count)
        cosines, sines = np.cos(turns * alphas[:, None]), np.sin(turns * alphas[:, None])
        bump = np.sin(np.pi * alphas)[:, None] ** 2
        weighting = bump * cosines
        slopes = np.pi * np.sin(2 * np.pi * alphas)[:, None] * cosines - turns * bump * sines
        between = np.sin(np.pi * middles)[:, None] ** 2 * np.cos(turns * middles[:, None])
    # Less a straight line, of which nothing can go wrong, so that f is 0 at both ends.
    at_nodes = samples.values[np.isin(ends, alphas)]
    values = at_nodes - samples.values[0] - samples.difference * alphas[:, None]
    flat = samples.slopes - samples.difference
    true = (weighting * weights[:, None]).T @ flat + (slopes * weights[:, None]).T @ values
    foretold = (between**2).T @ model.of_gaps(samples.slopes)
    # The constant makes the square right for normal numbers: the mean of the inverse of a chi-squared variable.
    return ratio(true, foretold) * float(np.sqrt(count / (count - 2)))


def ratio(true: Array, foretold: Array) -> Array:
    """Return how true errors (q, T) compare with the variances foretold for them, (T,); 1 where nothing was."""
    squares, variances = (true**2).sum(0), foretold.sum(0)
    ratios: Array = np.sqrt(np.divide(squares, variances, out=np.ones_like(squares), where=variances > 0))
    return ratios


def _root_mean_square(numbers: list[float] | Array) -> float:
    return float(np.sqrt(np.mean(np.square(numbers))))
