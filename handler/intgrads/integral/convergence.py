"""How far an integral is from f(x) - f(x'): what every answer says about itself.

The convergence delta compares the two sides of completeness over the whole path, where errors of opposite sign cancel.
f is known at every node, so the same comparison can be made over any part of the path, exactly and for nothing: the
local error cuts the path into eighths, and what is next to the baseline into octaves, and adds the absolute errors up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.interpolation import ends_of_gaps, gap_integrals

RELATIVE_ERROR = 0.05
"""A delta beyond this part of the difference is warned of, and is what a fixed rule counts as not converged."""

DIFFERENCE_FLOOR = 1e-3
"""Least difference, in logits, that an error is held against: f(x) = f(x') would ask for no error at all."""

EIGHTHS = 8
"""Parts of a path over which errors may cancel. More of them would ask a network of ReLUs, whose slope jumps at
thousands of places, to resolve jumps that no attribution depends on."""

OCTAVES = 40
"""Parts of the path's first thousandth, each half as long as the one above it: [2^-11, 2^-10), [2^-12, 2^-11) and on.
A network that normalises its input's scale away changes with the logarithm of alpha where the path begins at zeros; in
one part all of its errors would cancel by luck. Other networks have no errors to speak of there."""


@dataclass(frozen=True)
class Samples:
    """What is known of f along a path, for T targets.

    Attributes
    ----------
    alphas : ndarray, (m,), float64
        Where the gradient is, in [0, 1], increasing.
    values : ndarray, (gaps + 1, T), float64
        f there, and at 0 and 1 whether the gradient is known there or not.
    slopes : ndarray, (m, T), float64
        The derivative of f along the path, the sum over the features of gradient times (x - x').
    sketches : ndarray, (m, T, d), float64
        Short stand-ins for gradient times (x - x'); see :mod:`intgrads.integral.sketch`.
    """

    alphas: NDArray[np.float64]
    values: NDArray[np.float64]
    slopes: NDArray[np.float64]
    sketches: NDArray[np.float64]

    @property
    def difference(self) -> NDArray[np.float64]:
        """f(x) - f(x'), (T,)."""
        # A network that overflows gives infinities; telling so is up to who asked.
        with np.errstate(invalid="ignore"):
            difference: NDArray[np.float64] = self.values[-1] - self.values[0]
        return difference

    def allowed(self, tolerance: float) -> NDArray[np.float64]:
        """Return the error that a relative tolerance allows, (T,)."""
        return allowed_error(self.difference, tolerance)


def allowed_error(difference: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return the error that a relative tolerance allows in a difference f(x) - f(x'), (T,)."""
    allowed: NDArray[np.float64] = tolerance * np.maximum(np.abs(difference), DIFFERENCE_FLOOR)
    return allowed


def gap_errors(samples: Samples) -> NDArray[np.float64]:
    """Return the error of the sum in each gap of [0, 1] between neighbouring samples, signed, (gaps, T).

    What local cubics through the slopes around it integrate to, minus the true change of f.
    """
    with np.errstate(invalid="ignore"):
        errors: NDArray[np.float64] = gap_integrals(samples.alphas, 4).of(samples.slopes) - np.diff(
            samples.values, axis=0
        )
    return errors


def subinterval(middles: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which part of the path errors count to, by where their middle lies, in (0, 1)."""
    octave = np.clip(-11 - np.floor(np.log2(middles)), 0, OCTAVES - 1)
    return np.where(middles < 2.0**-10, EIGHTHS + octave, np.floor(middles * EIGHTHS)).astype(np.int64)


def summed(errors: NDArray[np.float64], middles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the local error: signed errors added within each part, their absolute values over all of them.

    Parameters
    ----------
    errors : ndarray, (k, T)
        Signed errors of parts of the path.
    middles : ndarray, (k,)
        Where the middle of each lies, in (0, 1); decides what it counts to.

    Returns
    -------
    ndarray, (T,)
    """
    totals = np.zeros((EIGHTHS + OCTAVES, errors.shape[1]))
    np.add.at(totals, subinterval(middles), errors)
    summed_up: NDArray[np.float64] = np.abs(totals).sum(0)
    return summed_up


def local_error(samples: Samples) -> NDArray[np.float64]:
    """Return the local error of samples at the nodes of any rule, as local cubics through them make it, (T,)."""
    ends = ends_of_gaps(samples.alphas)
    return summed(gap_errors(samples), (ends[1:] + ends[:-1]) / 2)
