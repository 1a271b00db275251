r"""Integrated Directional Gradients: how much each group of features carries the output.

Sikdar, Bhattacharya and Heese (ACL 2021, aclanthology.org/2021.acl-long.71). For a group S of features and
:math:`z^S = x - x'` on S and 0 elsewhere, with :math:`\hat z^S = z^S / \lVert z^S \rVert` (their equation 1),

.. math:: IDG(S) = \int_0^1 \nabla f(x' + \alpha (x - x')) \cdot \hat z^S\, d\alpha

over a family M of meaningful groups the dividend of a group and its value are

.. math:: d(S) = \frac{|IDG(S)|}{\sum_{T \in M} |IDG(T)|}, \qquad v(S) = \sum_{T \in M,\, T \subseteq S} d(T)

so that v ≥ 0, v(all) = 1 and v grows with its group. The absolute value is outside the integral, and the sign is kept
beside it. The integral is the weighted sum of the gradients at the nodes of the rule. The direction does not depend on
α, so that the product with it comes after the sum, and every group of an input is one row of one product with
:math:`w_k g_k \odot (x - x')` summed over k, which is the integrated gradients:

.. math:: IDG(S) = \frac{\sum_{i \in S} IG_i}{\lVert z^S \rVert}

Memory is that of the groups' masks; it does not grow with the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import norm as normal

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupFamily:
    """The groups of one input, as an answer lists them: the whole input last.

    Attributes
    ----------
    kinds, labels : list of str, length G
    members : ndarray, (G, P), bool
        Which units each group has.
    units : bool
        Whether each single unit is a group of the family too, though it is not listed.
    places : ndarray, (G, …)
        Where the groups are, as answers tell it.
    parents : tuple of int or None
        Where they are a tree: the group that each one but the last, the root, is a part of.
    """

    kinds: list[str]
    labels: list[str]
    members: NDArray[np.bool_]
    units: bool
    places: NDArray[Any]
    parents: tuple[int, ...] | None = None

    @property
    def drawn(self) -> list[int]:
        """Those groups that can be seen beside each other: all but the whole, and of a tree the leaves."""
        return list(range(len(self.labels) - 1)) if self.parents is None else self.leaves

    @property
    def leaves(self) -> list[int]:
        """Those groups of a tree that have no parts, which share the input out."""
        return sorted(set(range(len(self.labels))) - set(self.parents or ()))


@dataclass(frozen=True)
class GroupValues:
    """What each of G groups carries.

    Attributes
    ----------
    idg, dividends, values : ndarray, (G,), float64
        IDG(S) signed, d(S) and v(S). Where every IDG is 0, so are dividends and values.
    integrated_gradients : ndarray, (G,), float64
        The plain sum of IG over the group.
    idg_error, dividends_error, values_error, integrated_gradients_error : ndarray, (G,), float64
        Estimated errors of these, standard deviations; NaN where none were or could be estimated.
    """

    idg: Array
    dividends: Array
    values: Array
    integrated_gradients: Array
    idg_error: Array
    dividends_error: Array
    values_error: Array
    integrated_gradients_error: Array

    def of(self, groups: Sequence[int]) -> GroupValues:
        """Return what some of the groups carry."""
        return GroupValues(*(getattr(self, figure.name)[list(groups)] for figure in fields(self)))


Combine = Callable[[Array, Array], Array]
"""From sums over the units, (m, P), and over the groups, (m, G), to linear combinations of them, (m, K)."""

Errors = Callable[[Iterable[Combine]], Array]
"""From linear combinations of sums of IG, others for each baseline in turn, to the estimated errors of their means
over the baselines, (K,)."""


def group_values(
    attributions: Array,
    step: Array,
    groups: NDArray[np.bool_],
    units: bool = True,
    *,
    errors: Errors | None = None,
    unit_errors: bool = True,
) -> GroupValues:
    """Return IDG, dividends and values of groups of units.

    Of several baselines, IDG is the mean over them, each along its own direction; dividends and values are made of it.

    A unit is what a group has or has not: a pixel with its channels, a token with its embedding. The family M is the
    groups, with each unit by itself where `units` says so. A set that occurs more than once in it counts once. A
    group on which x equals x' has IDG 0.

    Parameters
    ----------
    attributions : ndarray, (P, C) or (K, P, C)
        Integrated gradients of the P units' features, from one baseline or several.
    step : ndarray, the same
        x - x'.
    groups : ndarray, (G, P), bool
        Which units each group has, the whole input among them.
    units : bool, default True
        Whether each single unit is a group of the family too.
    errors : callable, optional
        Estimates errors.
    unit_errors : bool, default True
        Whether it has the units' sums too. Without them dividends and values of a family with single units have none.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no group, or one is empty.
    """
    if attributions.ndim == 2:
        attributions, step = attributions[None], step[None]
    if attributions.shape != step.shape or groups.shape[1:] != step.shape[1:2] or not len(groups):
        raise ValueError(f"shapes do not fit: {attributions.shape}, {step.shape} and groups {groups.shape}")
    sizes = groups.sum(1)
    if not sizes.all():
        raise ValueError(f"group {int(np.argmin(sizes))} is empty")
    members = csr_array(groups, dtype=np.float64)
    sums = attributions.astype(np.float64).sum(2)
    squares = (step.astype(np.float64) ** 2).sum(2)
    of_each = (members @ sums.T).T
    plain = of_each.mean(0)
    norms = (members @ squares.T).T
    idg = _over_norm(of_each, norms).mean(0)

    def idg_of(norm: Array) -> Combine:
        return lambda _, of_groups: _over_norm(of_groups, norm)

    none = np.full(len(groups), np.nan)
    plain_error = none if errors is None else errors(idg_of(np.ones_like(norm)) for norm in norms)
    idg_error = none if errors is None else errors(map(idg_of, norms))
    # One of each set: the first of equal groups, and of those that are a single unit none where units are groups.
    _, first = np.unique(np.packbits(groups, axis=1), axis=0, return_index=True)
    counted = np.zeros(len(groups), dtype=bool)
    counted[first] = True
    of_units = _over_norm(sums, squares).mean(0)
    alone = np.abs(of_units) if units else np.zeros_like(of_units)
    if units:
        counted &= sizes > 1
    strength = np.abs(idg)
    total = strength[counted].sum() + alone.sum()
    if total == 0:
        zeros = np.zeros_like(idg)
        return GroupValues(idg, zeros, zeros, plain, idg_error, zeros, zeros, plain_error)
    # T is within S where they share all of T.
    distinct = members[np.flatnonzero(counted)]
    within = (members @ distinct.T).toarray() == sizes[counted]
    values = (within @ strength[counted] + members @ alone) / total
    dividends = strength / total

    if errors is None or (units and not unit_errors):
        return GroupValues(idg, dividends, values, plain, idg_error, none, none, plain_error)

    def parts(of_units: Array, of_groups: Array) -> Array:
        """Return what changes of |IDG|, (m, P) and (m, G), make of dividends and values, (m, 2 G)."""
        # Of parts of a whole: d(a / b) = (da - a/b db) / b.
        whole = of_groups[:, counted].sum(1, keepdims=True)
        inside = of_groups[:, counted] @ within.T
        if units:
            whole, inside = whole + of_units.sum(1, keepdims=True), inside + (members @ of_units.T).T
        changes: Array = np.concatenate([of_groups - dividends * whole, inside - values * whole], axis=1) / total
        return changes

    def first_order(norm: Array, square: Array) -> Combine:
        return lambda of_units, of_groups: parts(
            signs_of_units * _over_norm(of_units, square) if units else of_units,
            np.sign(idg) * _over_norm(of_groups, norm),
        )

    signs_of_units = np.sign(of_units)
    off = errors(first_order(norm, square) for norm, square in zip(norms, squares, strict=True))

    def of_single_units(square: Array) -> Combine:
        return lambda own, _: _over_norm(own, square)

    units_off = errors(map(of_single_units, squares)) if units else np.zeros_like(of_units)
    bias = parts(_excess(of_units, units_off)[None], _excess(idg, idg_error)[None])[0]
    dividends_error, values_error = np.hypot(off, bias).reshape(2, -1)
    return GroupValues(idg, dividends, values, plain, idg_error, dividends_error, values_error, plain_error)


def _excess(found: Array, errors: Array) -> Array:
    """Return by how much absolute values of figures with errors are likely too large.

    Where a figure is lost in its error, its absolute value is that of the error, and of thousands of such pixels
    nothing cancels. The true figure is taken to be what is left when the error's square is taken off its square, and
    the error to be normal.
    """
    sizes = np.divide(np.abs(found), errors, out=np.full_like(found, np.inf), where=errors > 0)
    true = np.sqrt(np.maximum(sizes**2 - 1, 0))
    with np.errstate(invalid="ignore"):
        excess: Array = 2 * errors * (normal.pdf(true) - true * normal.cdf(-true))
    return np.where(np.isfinite(true), excess, 0.0)


def _over_norm(sums: Array, squares: Array) -> Array:
    shape = np.broadcast_shapes(sums.shape, squares.shape)
    return np.divide(sums, np.sqrt(squares), out=np.zeros(shape), where=np.broadcast_to(squares > 0, shape))
