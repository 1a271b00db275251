r"""How far the map is off: the L2 error of the integrated gradients, estimated from the gradients in hand.

Write G(α) for the gradient at α times x - x', a vector with one entry for each feature. Integrated gradients are its
integral over [0, 1], and a rule's error is a sum over the gaps between nodes. Two things can be known of it.

**What a smoother reading of the same nodes gives.** The difference between the rule and the integral of local cubics
through its nodes is a vector, and exact. It is all of the error of the one-sided rules, and of the others on smooth
networks.

**What happens between the nodes.** A network of ReLUs has a gradient that jumps at thousands of places, so that G is
like a random walk: its increments over h have the mean square :math:`\sigma^2 h`. :math:`\sigma^2` is measured by how
far each node is from the line through its neighbours, and for a random walk the mean square error of any rule follows,

.. math:: \sum_{gaps} \sigma^2 \int_{gap} e(\alpha)^2 d\alpha,
             \qquad e(\alpha) = 1 - \alpha - \sum_{\alpha_k > \alpha} w_k

where e is Peano's kernel of the rule (for the trapezoid :math:`h^2 \lVert\Delta G\rVert^2 / 12` a gap). A smooth
network errs less, and how much less the gradients cannot tell: they are known at the nodes alone. But f is, and with it
the integral of the *sum* of G over any part of the path, and against any smooth weighting, by parts. So the error that
the same reckoning foretells for the sum is held against the true one, over several weightings, and where the true
errors are smaller by far the estimate is scaled down by as much.

``docs/error.md`` has the derivation, what was measured, and where it fails. Leads: Diaconis (1988) and O'Hagan (1991)
for integrals of random walks given their values; Davis and Rabinowitz (1984), 4.3, for Peano's kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from intgrads.integral.convergence import EIGHTHS, Samples
from intgrads.integral.interpolation import Stencils, ends_of_gaps, gap_integrals, residuals
from intgrads.integral.quadrature import Rule

Array = NDArray[np.float64]

FEWEST = 5
"""Nodes of which the neighbours tell something; with fewer, increments between them do."""

STEADY, FALLING = 0.95, 0.85
"""The estimate by four neighbours as a part of that by two: above the first, no polynomial foretells a node better than
a line, as on a walk; below the second one does, and the network is smooth on the scale of the nodes. In between one
goes over into the other."""

FEW_NODES, FEW_NODES_DOUBT = 12, 0.1
"""Of fewer nodes both of the above must be less by this much, as the estimates are of few numbers."""

SMOOTH_REFINED = 0.45
"""Part of the estimate that a refinement is off by where the network is smooth: nine in ten are off by less."""

BELIEVED, BELIEVED_OF_A_WALK = (0.2, 0.5), (0.1, 0.25)
"""True errors of the sum below the first part of those foretold are believed; above the second they are as foretold,
give or take the chance of a few numbers. Where the nodes show a walk, f must say so louder."""

UNFORESEEN, MOST_UNFORESEEN = 2.5, 3.0
"""True errors of the sum of more than 2.5 times the foretold ones are no chance: something lies between the nodes. The
estimate is then raised, three times at most; of what no node has seen, the convergence delta tells more."""

MOST_WEIGHTINGS = 64

FLOAT32_ROUNDING = 2.0**-24
"""Relative error of what float32 computes, at least."""


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
        What the chance is scaled by, as f tells.
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


def _peano_squares(alphas: Array, weights: Array) -> Array:
    ends = ends_of_gaps(alphas)
    after = weights.sum() - np.concatenate([[0.0] if alphas[0] > 0 else [], np.cumsum(weights)])
    after = after[: len(ends) - 1]
    left, right = 1 - ends[:-1] - after, 1 - ends[1:] - after
    squares: Array = np.diff(ends) * (left**2 + left * right + right**2) / 3
    return squares


def _rates(alphas: Array, others: int) -> Stencils:
    r"""Return combinations of nodes whose squares are :math:`\sigma^2` in the mean, for a random walk."""
    if others and len(alphas) > 2:
        stencils = residuals(alphas, others)
    else:
        first = np.arange(len(alphas) - 1)
        stencils = Stencils(np.stack([first, first + 1], axis=1), np.tile([-1.0, 1.0], (len(first), 1)))
    # A combination of a walk's values is one of its increments, the sums of the coefficients so far.
    increments = np.cumsum(stencils.coefficients, axis=1)[:, :-1]
    variances = (increments**2 * np.diff(alphas[stencils.nodes], axis=1)).sum(1)
    return Stencils(stencils.nodes, stencils.coefficients / np.sqrt(variances)[:, None])


def fixed_models(rule: Rule, samples: Samples) -> list[ErrorModel]:
    """Return the error of a fixed rule for each target.

    Parameters
    ----------
    rule : Rule
    samples : Samples
        At its nodes, and at 0 and 1 where it has one of these, or has few nodes.
    """
    alphas, count = samples.alphas, len(samples.alphas)
    weights = rule.weights_at(alphas)
    gauss = rule.name == "gausslegendre"
    trapezoid = gap_integrals(alphas, 2).weights(count)
    if len(rule) < FEWEST:
        model = ErrorModel(weights - trapezoid, _rates(alphas, 0), _peano_squares(alphas, trapezoid))
        return [model] * len(samples.difference)
    better = weights if gauss else gap_integrals(alphas, 4).weights(count)
    inner = trapezoid if alphas[0] == 0 else weights
    squares = _peano_squares(alphas, inner)
    model = ErrorModel(weights - better, _rates(alphas, 2), squares)
    finer = replace(model, rates=_rates(alphas, 4))
    true, foretold = _weighted_errors(model, samples, inner, polynomials=gauss)
    told = zip(
        _ratios(true, foretold), _careful_ratios(true, foretold), _smoothness(model, finer, samples), strict=True
    )
    return [
        replace(model, scale=_between(_trusted(careful, *BELIEVED_OF_A_WALK), _trusted(ratio, *BELIEVED), part))
        for ratio, careful, part in told
    ]


def _weighted_errors(model: ErrorModel, samples: Samples, weights: Array, polynomials: bool) -> tuple[Array, Array]:
    r"""Return the true errors of the sum of G against several weightings v, and the variances foretold, (q, T) each.

    By parts :math:`\int v f' = [v f] - \int v' f`. f is smoother than f' by one order, so that the same nodes integrate
    the right side well. A weighting must be one that the rule itself makes no error on: Legendre polynomials for
    Gauss's, and for equidistant nodes cosines that vanish at both ends, where such rules err.
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
    return true, (between**2).T @ model.of_gaps(samples.slopes)


def refined_models(samples: Samples) -> list[ErrorModel]:
    """Return the error, for each target, of the integral of local cubics through all samples."""
    cubics = gap_integrals(samples.alphas, 4)
    count = len(samples.alphas)
    squares = _peano_squares(samples.alphas, cubics.weights(count))
    model = ErrorModel(np.zeros(count), _rates(samples.alphas, 4), squares)
    coarser = replace(model, rates=_rates(samples.alphas, 2))
    # Over each eighth f says what the integral of the sum is: eight numbers, and so no more than a doubt.
    ends = ends_of_gaps(samples.alphas)
    middles = (ends[1:] + ends[:-1]) / 2
    eighth = np.floor(middles * EIGHTHS).astype(np.int64)
    true, foretold = np.zeros((2, EIGHTHS, len(samples.difference)))
    np.add.at(true, eighth, cubics.of(samples.slopes) - np.diff(samples.values, axis=0))
    np.add.at(foretold, eighth, model.of_gaps(samples.slopes))
    models = []
    for ratio, part in zip(_careful_ratios(true, foretold), _smoothness(coarser, model, samples), strict=True):
        # Only ever to more care: rounds go on until the estimate is small, and would end at the first that is small by
        # chance.
        scale = _raised(ratio) if ratio >= 1 else _between(1.0, SMOOTH_REFINED, part)
        models.append(replace(model, scale=scale))
    return models


def _smoothness(coarser: ErrorModel, finer: ErrorModel, samples: Samples) -> list[float]:
    """Return whether G is smooth on the scale of the nodes, for each target: 0 for a walk, 1 for a smooth network."""
    parts = []
    doubt = FEW_NODES_DOUBT if len(samples.alphas) < FEW_NODES else 0.0
    for t in range(len(samples.difference)):
        two, four = (model.norm(samples.sketches[:, t]) for model in (coarser, finer))
        ratio = four / two if two > 0 else 1.0
        parts.append(float(np.clip((STEADY - doubt - ratio) / (STEADY - FALLING), 0, 1)))
    return parts


def _between(steady: float, smooth: float, part: float) -> float:
    """Return what lies a part of the way from one scale to another, on a scale of their logarithms."""
    return float(steady ** (1 - part) * smooth**part)


@dataclass(frozen=True)
class MapErrors:
    """How far the integrals along one path are off, for T targets.

    Attributes
    ----------
    models : list of ErrorModel, length T
    samples : Samples
    norms : ndarray, (T,)
        L2 norms of the maps.
    sums : ndarray, (m, T, Q), or None
        Sums over groups of features of gradient times (x - x'), at all samples, where they were asked for.
    known_map : ndarray, (T, features), or None
        What is known of each feature's error, with its sign, where that was asked for.
    """

    models: list[ErrorModel]
    samples: Samples
    norms: Array
    sums: Array | None = None
    known_map: NDArray[np.float32] | None = None

    def relative(self) -> Array:
        """Return the estimated L2 norm of each map's error over the norm of the map, (T,)."""
        errors = np.array([model.norm(self.samples.sketches[:, t]) for t, model in enumerate(self.models)])
        # Of a map of zeros that should not be one, all is missing.
        relative: Array = np.divide(errors, self.norms, out=np.sign(errors), where=self.norms > 0)
        return np.hypot(relative, FLOAT32_ROUNDING)

    def of_sums(self, target: int, combinations: Array | None = None) -> Array:
        """Return the estimated errors of a target's integrals of sums, (Q,), or of linear combinations of them.

        Parameters
        ----------
        target : int
            Its place among the targets.
        combinations : ndarray, (K, Q), optional
        """
        known, variance = self.parts_of_sums(target, combinations)
        errors: Array = np.sqrt(known**2 + variance)
        return errors

    def of_own_sums(self, target: int, combinations: Iterable[Array | None]) -> Array:
        """Return those of linear combinations, (M, Q) for each path in turn, of which there is one: (M,)."""
        (own,) = combinations
        return self.of_sums(target, own)

    def parts_of_sums(self, target: int, combinations: Array | None = None) -> tuple[Array, Array]:
        """Return what of these errors is known, with its sign, and the variance of what is chance."""
        if self.sums is None:
            raise ValueError("no sums were kept")
        sums = self.sums[:, target]
        return self.models[target].parts(sums if combinations is None else sums @ combinations.T)

    def evaluations_for(self, tolerance: float) -> int:
        """Return how many points a refinement to a tolerance is likely to take."""
        most = 0.0
        for t, model in enumerate(refined_models(self.samples)):
            vectors, allowed = self.samples.sketches[:, t], tolerance * float(self.norms[t])
            if model.scale < 1:
                # Smooth: cubics err with the fourth power of the gaps' width.
                count = len(self.samples.alphas) * (model.norm(vectors) / max(allowed, 1e-300)) ** 0.25
            else:
                count = allotment(model, vectors, allowed).sum() + 1
            most = max(most, count)
        return int(np.ceil(min(most, 1e9)))


@dataclass(frozen=True)
class MeanErrors:
    """How far a mean over several paths is off, for T targets: what is known adds up, chance does so in squares.

    Attributes
    ----------
    each : list of MapErrors, length K
        Of the single paths.
    norms : ndarray, (T,)
        L2 norms of the mean maps.
    """

    each: list[MapErrors]
    norms: Array

    def relative(self) -> Array:
        """Return the estimated L2 norm of each mean map's error over the norm of that map, (T,)."""
        errors = np.zeros_like(self.norms)
        for t in range(len(errors)):
            parts = [one.models[t].parts(one.samples.sketches[:, t]) for one in self.each]
            errors[t] = np.linalg.norm(_of_mean(parts))
        relative: Array = np.divide(errors, self.norms, out=np.sign(errors), where=self.norms > 0)
        return np.hypot(relative, FLOAT32_ROUNDING)

    def of_sums(self, target: int, combinations: Array | None = None) -> Array:
        """Return the estimated errors of the mean of a target's sums, (Q,), or of linear combinations of them, (M,)."""
        return self.of_own_sums(target, [combinations] * len(self.each))

    def of_own_sums(self, target: int, combinations: Iterable[Array | None]) -> Array:
        """Return the estimated errors of means of linear combinations, (M, Q) for each path in turn: (M,)."""
        return _of_mean([one.parts_of_sums(target, own) for one, own in zip(self.each, combinations, strict=True)])

    def evaluations_for(self, tolerance: float) -> int:
        """Return how many points a refinement to a tolerance is likely to take on one of the paths, at most."""
        return max(one.evaluations_for(tolerance) for one in self.each)


def _of_mean(parts: list[tuple[Array, Array]]) -> Array:
    known, variance = (np.stack(part) for part in zip(*parts, strict=True))
    errors: Array = np.sqrt(known.mean(0) ** 2 + variance.mean(0) / len(parts))
    return errors


def map_norms(rule: Rule, samples: Samples) -> Array:
    """Return the L2 norms of the maps that a rule makes of the samples, by their sketches, (T,)."""
    norms: Array = np.linalg.norm(np.einsum("m,mtd->td", rule.weights_at(samples.alphas), samples.sketches), axis=1)
    return norms


def nearest_rates(alphas: Array, vectors: Array) -> Array:
    r"""Return :math:`\sigma^2` times the width of each gap, (gaps,), from the nearest neighbours of its nodes alone.

    Parameters
    ----------
    alphas : ndarray, (n,)
        From 0 to 1.
    vectors : ndarray, (n, d)
    """
    model = ErrorModel(np.zeros(len(alphas)), _rates(alphas, 2), np.diff(alphas))
    rates: Array = model.of_gaps(vectors).sum(1)
    return rates


def allotment(model: ErrorModel, vectors: Array, allowed: float) -> Array:
    """Return into how many pieces to cut each gap, (gaps,), not rounded, for a total error of `allowed`.

    A gap's squared error falls with the square of the pieces where the gradient jumps. The fewest pieces in all are
    those of Lagrange's multiplier: as the cube root of the squared errors.
    """
    errors = model.of_gaps(vectors).sum(1)
    roots = np.cbrt(errors)
    pieces: Array = np.maximum(roots * np.sqrt(roots.sum()) / max(allowed, 1e-300), 1.0)
    return pieces


def _ratios(true: Array, foretold: Array) -> list[float]:
    """Return how true errors (q, T) compare with the variances foretold for them, (q, T), for each target.

    The constant makes the square right for normal numbers: the mean of the inverse of a chi-squared variable.
    """
    count = len(true)
    ratios: list[float] = np.sqrt(_over((true**2).sum(0), foretold.sum(0)) * count / (count - 2)).tolist()
    return ratios


def _careful_ratios(true: Array, foretold: Array) -> list[float]:
    """Return the same, or the geometric mean where that is larger.

    Where a few variances are huge, as next to a spike, the ratio of the sums is small by no merit of the others. The
    constant is that of the mean logarithm of a chi-squared variable.
    """
    each = np.log(np.maximum(_over(true**2, foretold), 1e-12))
    ratios: list[float] = np.maximum(_ratios(true, foretold), 1.887 * np.exp(each.mean(0) / 2)).tolist()
    return ratios


def _raised(ratio: float) -> float:
    return min(max(1.0, ratio / UNFORESEEN), MOST_UNFORESEEN)


def _trusted(ratio: float, smooth: float, rough: float) -> float:
    """Return what to scale by where errors of the sum are `ratio` times the foretold ones."""
    if not ratio < rough:
        return _raised(ratio)
    if ratio <= smooth:
        return ratio
    return float(smooth ** (1 - np.log(ratio / smooth) / np.log(rough / smooth)))


def _over(numerator: Array, denominator: Array) -> Array:
    """Return a quotient; 1 where nothing was foretold."""
    return np.divide(numerator, denominator, out=np.ones_like(numerator), where=denominator > 0)
