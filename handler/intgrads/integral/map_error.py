r"""How far the map is off: the L2 error of the integrated gradients, estimated from the gradients in hand.

Write G(α) for the gradient at α times x - x', a vector with one entry for each feature. Integrated gradients are its
integral over [0, 1], and a rule's error is a sum over the gaps between nodes. Two things can be known of it.

**What a smoother reading of the same nodes gives.** The difference between the rule and the integral of local cubics
through its nodes is a vector, and exact. It is all of the error of the one-sided rules, and of the others on smooth
networks.

**What happens between the nodes.** That is reckoned as for a random walk (walk.py), which networks of ReLUs are like,
and scaled down where a network is smooth (smoothness.py).

``docs/error.md`` has the derivation, what was measured, and where it fails. Leads: Diaconis (1988) and O'Hagan (1991)
for integrals of random walks given their values; Davis and Rabinowitz (1984), 4.3, for Peano's kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.convergence import Samples, gap_errors
from intgrads.integral.interpolation import gap_integrals
from intgrads.integral.quadrature import Rule
from intgrads.integral.smoothness import (
    EQUIDISTANT,
    GAUSS,
    REFINED,
    by_halves,
    by_order,
    ratio,
    scale,
    weighted_errors,
)
from intgrads.integral.walk import ErrorModel, peano_squares, rates

Array = NDArray[np.float64]

Combine = Callable[[Array], Array]
"""From sums over groups of features, (m, Q), to linear combinations of them, (m, K)."""

FEWEST = 5
"""Nodes of which the neighbours tell something; with fewer, increments between them do."""

FLOAT32_ROUNDING = 2.0**-24
"""Relative error of what float32 computes, at least."""


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
        model = ErrorModel(weights - trapezoid, rates(alphas, 0), peano_squares(alphas, trapezoid))
        return [model] * len(samples.difference)
    better = weights if gauss else gap_integrals(alphas, 4).weights(count)
    inner = trapezoid if alphas[0] == 0 else weights
    squares = peano_squares(alphas, inner)
    model = ErrorModel(weights - better, rates(alphas, 2), squares)
    told_by_f = weighted_errors(model, samples, inner, polynomials=gauss)
    models = []
    for t, by_f in enumerate(told_by_f.tolist()):
        vectors = samples.sketches[:, t]
        if gauss:
            part = scale(GAUSS, by_f, by_order(model, alphas, vectors))
        else:
            part = scale(EQUIDISTANT, by_f, _part(by_halves(alphas, vectors), model, vectors))
        models.append(replace(model, scale=part))
    return models


def refined_models(samples: Samples) -> list[ErrorModel]:
    """Return the error, for each target, of the integral of local cubics through all samples."""
    alphas, count = samples.alphas, len(samples.alphas)
    squares = peano_squares(alphas, gap_integrals(alphas, 4).weights(count))
    model = ErrorModel(np.zeros(count), rates(alphas, 4), squares)
    if count < FEWEST:
        return [model] * len(samples.difference)
    told_by_f = ratio(gap_errors(samples), model.of_gaps(samples.slopes))
    models = []
    for t, by_f in enumerate(told_by_f.tolist()):
        vectors = samples.sketches[:, t]
        models.append(replace(model, scale=scale(REFINED, by_f, _part(by_halves(alphas, vectors), model, vectors))))
    return models


def _part(error: float, model: ErrorModel, vectors: Array) -> float:
    """Return an error as a part of what a model foretells for vectors; 1 where that is nothing."""
    chance = model.chance(vectors)
    return error / chance if chance else 1.0


@dataclass(frozen=True)
class MapErrors:
    """How far the integrals along one path are off, for T targets.

    Attributes
    ----------
    models : list of ErrorModel, length T
    samples : Samples
    norms : ndarray, (T,)
        L2 norms of the maps.
    sums : ndarray, (m, T, Q), float32, or None
        Sums over groups of features of gradient times (x - x'), at all samples, where they were asked for.
    known_map : ndarray, (T, features), or None
        What is known of each feature's error, with its sign, where that was asked for.
    """

    models: list[ErrorModel]
    samples: Samples
    norms: Array
    sums: NDArray[np.float32] | None = None
    known_map: NDArray[np.float32] | None = None

    def relative(self) -> Array:
        """Return the estimated L2 norm of each map's error over the norm of the map, (T,)."""
        errors = np.array([model.norm(self.samples.sketches[:, t]) for t, model in enumerate(self.models)])
        # Of a map of zeros that should not be one, all is missing.
        relative: Array = np.divide(errors, self.norms, out=np.sign(errors), where=self.norms > 0)
        return np.hypot(relative, FLOAT32_ROUNDING)

    @property
    def count(self) -> int:
        """How many sums over groups of features were kept."""
        return 0 if self.sums is None else self.sums.shape[-1]

    def of_sums(self, target: int, combine: Combine | None = None) -> Array:
        """Return the estimated errors of a target's integrals of sums, (Q,), or of linear combinations of them, (K,).

        Parameters
        ----------
        target : int
            Its place among the targets.
        combine : callable, optional
        """
        known, variance = self.parts_of_sums(target, combine)
        errors: Array = np.sqrt(known**2 + variance)
        return errors

    def of_own_sums(self, target: int, combine: Iterable[Combine | None]) -> Array:
        """Return those of linear combinations for each path in turn, of which there is one: (K,)."""
        (own,) = combine
        return self.of_sums(target, own)

    def parts_of_sums(self, target: int, combine: Combine | None = None) -> tuple[Array, Array]:
        """Return what of these errors is known, with its sign, and the variance of what is chance."""
        if self.sums is None:
            raise ValueError("no sums were kept")
        sums = self.sums[:, target].astype(np.float64)
        return self.models[target].parts(sums if combine is None else combine(sums))

    def evaluations_for(self, tolerance: float) -> int:
        """Return how many points a refinement to a tolerance is likely to take."""
        most = float(FEWEST)  # with which a refinement starts
        for t, model in enumerate(refined_models(self.samples)):
            vectors, allowed = self.samples.sketches[:, t], tolerance * float(self.norms[t])
            if model.scale < 1:
                # Smooth: cubics err with the fourth power of the gaps' width.
                count = len(self.samples.alphas) * (model.norm(vectors) / max(allowed, 1e-300)) ** 0.25
            else:
                count = allotment(model, vectors, allowed).sum() + 1
            most = max(most, count)
        return int(np.ceil(min(most, 1e9)))


def no_less_than_missing(relative: Array, absolute: Array, delta: Array, difference: Array) -> Array:
    """Return the relative error of each map, (T,), given the estimate: at least what is missing from its sum.

    What no node has seen is missing from the sum as well, and the error adds up to no less than that.

    Parameters
    ----------
    relative : ndarray, (T,)
        As estimated.
    absolute : ndarray, (T,)
        Sums of the absolute integrated gradients.
    delta, difference : ndarray, (T,)
        The convergence delta, and f(x) - f(x').
    """
    sizes = np.maximum(absolute, np.abs(difference))
    missing: Array = np.divide(np.abs(delta), sizes, out=np.zeros_like(delta), where=sizes > 0)
    return np.maximum(relative, missing)


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

    @property
    def count(self) -> int:
        """How many sums over groups of features were kept of each path."""
        return self.each[0].count

    def of_sums(self, target: int, combine: Combine | None = None) -> Array:
        """Return the estimated errors of the mean of a target's sums, (Q,), or of linear combinations of them, (K,)."""
        return self.of_own_sums(target, [combine] * len(self.each))

    def of_own_sums(self, target: int, combine: Iterable[Combine | None]) -> Array:
        """Return the estimated errors of means of linear combinations, others for each path in turn: (K,)."""
        return _of_mean([one.parts_of_sums(target, own) for one, own in zip(self.each, combine, strict=True)])

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
    model = ErrorModel(np.zeros(len(alphas)), rates(alphas, 2), np.diff(alphas))
    widths: Array = model.of_gaps(vectors).sum(1)
    return widths


def allotment(model: ErrorModel, vectors: Array, allowed: float) -> Array:
    """Return into how many pieces to cut each gap, (gaps,), not rounded, for a total error of `allowed`.

    Less than one where a wider gap would do.
    A gap's squared error falls with the square of the pieces where the gradient jumps. The fewest pieces in all are
    those of Lagrange's multiplier: as the cube root of the squared errors.
    """
    errors = model.of_gaps(vectors).sum(1)
    roots = np.cbrt(errors)
    pieces: Array = roots * np.sqrt(roots.sum()) / max(allowed, 1e-300)
    return pieces
