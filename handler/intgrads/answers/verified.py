"""An answer held to its claim: the order that it gives the parts of an input, under deletion and insertion.

The order is that of the groups where some were asked for, of the tokens or pixels otherwise. Of regions, which are a
tree, it is that of the leaves, by their IG for each pixel, XRAI's criterion (Kapishnikov et al. 2019); and the first
that keep a share of the output are told, as the largest regions that they make up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.ablation import (
    SLICES,
    Parts,
    Verification,
    chances_of_a_map,
    chances_of_groups,
    ranked_groups,
    slices,
)
from intgrads.integral.attribution import Attribution
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.subject import Integrand

LISTED_BESIDE = ("token", "text", "picture")
"""Kinds of groups that a family lists besides those that were asked for."""


@dataclass(frozen=True)
class Verified:
    """What is told of a verification, of one target.

    Outputs are what was attributed, its logit say. Means over the area are parts of the way from f(x') = 0 to
    f(x) = 1; None where these are equal.
    """

    areas: list[float]
    deletion: list[float]
    insertion: list[float]
    deletion_area: float | None
    insertion_area: float | None
    deletion_area_by_chance: list[float | None]
    insertion_area_by_chance: list[float | None]
    better_than_chance: bool
    passes: int


@dataclass(frozen=True)
class Kept:
    """The regions that keep a share of the output, of one target.

    Attributes
    ----------
    share : float
        Of f(x) - f(x'), as it was asked for.
    regions : list of int
        Their places among the groups.
    area : float
        Part of the picture that they are.
    value_of_these, value_without : float
        What was attributed, of the picture with these regions alone, the rest being the baseline's, and of the picture
        with all but them.
    """

    share: float
    regions: list[int]
    area: float
    value_of_these: float
    value_without: float


def orders(
    integrand: Integrand, attribution: Attribution, target: int, groups: GroupValues | None, changed: NDArray[np.bool_]
) -> list[Parts]:
    """Return in which order an answer's own parts go, and orders by chance.

    Parameters
    ----------
    integrand : Integrand
    attribution : Attribution
    target : int
        Its place among the targets.
    groups : GroupValues or None
        What the groups carry, where some were asked for.
    changed : ndarray, (P,), bool
        Whether x and x' differ at each unit.
    """
    family = integrand.family
    if family is None or groups is None:
        scores = integrand.unit_sums(attribution.integrated_gradients[target : target + 1])[0]
        parts = slices(scores, changed)
        return [parts, *chances_of_a_map(parts, integrand.unit_shape)]
    parts = ranked_groups(family.members, ranked(family, groups))
    return [parts, *chances_of_groups(parts)]


def parts_to_verify(integrand: Integrand) -> int:
    """Return how many parts an answer's order has, at most."""
    return SLICES if integrand.family is None else len(_asked(integrand.family))


def _asked(family: GroupFamily) -> list[int]:
    """Return the groups that were asked for, or the leaves of regions."""
    if family.parents is not None:
        return family.leaves
    return [k for k, kind in enumerate(family.kinds) if kind not in LISTED_BESIDE]


def ranked(family: GroupFamily, groups: GroupValues) -> list[int]:
    """Return the groups that were asked for, or the leaves of regions, from what raised the output most on."""
    asked = _asked(family)
    if family.parents is not None:
        merits = groups.integrated_gradients / family.members.sum(1)
    else:
        merits = np.sign(groups.idg) * groups.values
    order: list[int] = np.array(asked)[np.argsort(-merits[asked], kind="stable")].tolist()
    return order


def told(verification: Verification) -> Verified:
    """Return what is told of a verification."""
    curves, chances = verification.curves, verification.chances
    return Verified(
        areas=curves.areas.tolist(),
        deletion=curves.deletion.tolist(),
        insertion=curves.insertion.tolist(),
        deletion_area=finite(curves.deletion_area),
        insertion_area=finite(curves.insertion_area),
        deletion_area_by_chance=[finite(chance.deletion_area) for chance in chances],
        insertion_area_by_chance=[finite(chance.insertion_area) for chance in chances],
        better_than_chance=verification.better_than_chance,
        passes=verification.passes,
    )


def kept(family: GroupFamily, groups: GroupValues, verification: Verification, share: float) -> Kept:
    """Return the first regions of the order that keep a share of the output."""
    curves, order = verification.curves, ranked(family, groups)
    count = curves.first_to_keep(share)
    return Kept(
        share=share,
        regions=_largest(family, order[:count]),
        area=float(curves.areas[count]),
        value_of_these=float(curves.insertion[count]),
        value_without=float(curves.deletion[count]),
    )


def _largest(family: GroupFamily, leaves: Sequence[int]) -> list[int]:
    """Return the largest regions that some leaves make up."""
    inside = family.members[list(leaves)].any(0) if leaves else np.zeros(family.members.shape[1], bool)
    whole = [bool((~members | inside).all()) for members in family.members]
    parents = [*(family.parents or ()), None]
    return [k for k, parent in enumerate(parents) if whole[k] and (parent is None or not whole[parent])]


def finite(number: float) -> float | None:
    """Return a number as JSON can carry it: None for what is none."""
    return number if np.isfinite(number) else None
