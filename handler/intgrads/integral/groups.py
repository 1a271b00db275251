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
        Estimated errors of these, standard deviations; NaN where none were to be estimated.
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

    def told_apart(self, first: int, second: int) -> bool:
        """Whether the values of two groups differ by more than their errors."""
        error = np.hypot(self.values_error[first], self.values_error[second])
        return not abs(self.values[first] - self.values[second]) <= error


Errors = Callable[[Iterable[Array]], Array]
"""From linear combinations of the groups' sums of IG, (M, G) for each baseline in turn, to the estimated errors of
their means over the baselines, (M,)."""


def group_values(
    attributions: Array,
    step: Array,
    groups: NDArray[np.bool_],
    units: bool = True,
    errors: Errors = lambda combinations: np.full(len(next(iter(combinations))), np.nan),
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
        Estimates errors. Those of dividends and values are of first order, and leave out what single units that are
        not among the groups add: thousands of small errors, which cancel.

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
    each = np.eye(len(groups))
    plain_error = errors(each for _ in norms)
    idg_error = errors(_over_norm(each, norm) for norm in norms)
    # One of each set: the first of equal groups, and of those that are a single unit none where units are groups.
    _, first = np.unique(np.packbits(groups, axis=1), axis=0, return_index=True)
    counted = np.zeros(len(groups), dtype=bool)
    counted[first] = True
    alone = np.abs(_over_norm(sums, squares).mean(0)) if units else np.zeros(len(groups.T))
    if units:
        counted &= sizes > 1
    strength = np.abs(idg)
    total = strength[counted].sum() + alone.sum()
    if total == 0:
        none = np.zeros_like(idg)
        return GroupValues(idg, none, none, plain, idg_error, none, none, plain_error)
    # T is within S where they share all of T.
    distinct = members[np.flatnonzero(counted)]
    within = (members @ distinct.T).toarray() == sizes[counted]
    values = (within @ strength[counted] + members @ alone) / total
    # |IDG| by the sums over the groups, and the parts of the whole that are dividends and values: d(a / b) = (da - a/b
    # db) / b. Single units that are among the groups take part.
    slopes = _over_norm(np.sign(idg), norms)
    listed = np.zeros(len(groups), dtype=bool)
    listed[first] = True
    below = np.zeros_like(each)
    below[:, listed] = (members @ members[np.flatnonzero(listed)].T).toarray() == sizes[listed]
    dividends = strength / total
    dividends_error = errors((each * own - dividends[:, None] * (listed * own)) / total for own in slopes)
    values_error = errors((below * own - values[:, None] * (listed * own)) / total for own in slopes)
    return GroupValues(idg, dividends, values, plain, idg_error, dividends_error, values_error, plain_error)


def _over_norm(sums: Array, squares: Array) -> Array:
    shape = np.broadcast_shapes(sums.shape, squares.shape)
    return np.divide(sums, np.sqrt(squares), out=np.zeros(shape), where=np.broadcast_to(squares > 0, shape))
