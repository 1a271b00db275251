"""Deletion and insertion: what becomes of an output as parts of an input give way to the baseline, or come back.

An attribution says which parts of an input carry the output. Deletion (Petsiuk, Das, Saenko, BMVC 2018, arXiv
1806.07421) replaces parts of x by those of x', the most important first: the output should fall soon. Insertion begins
at x' and adds them: the output should rise soon. Both are real passes of the network, and so hold an answer to its
claim whatever method made it.

Curves run over area, the part of the input that was replaced, since parts differ in size. What the area under a curve
is worth is told by chance: the same parts in other orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Parts = NDArray[np.int64]
"""Of each unit (a pixel, a token) when it goes, (P,): 0 first."""

SLICES = 16
"""Parts into which an order of single units is cut."""

CHANCES = 4
"""Orders by chance that a curve is held against."""

SEED = 0


@dataclass(frozen=True)
class Curves:
    """An output along an order, for K parts.

    Attributes
    ----------
    areas : ndarray, (K + 1,)
        Part of the input that was replaced, or added: from 0 to 1.
    deletion, insertion : ndarray, (K + 1,)
        The output then: deletion begins at f(x) and ends at f(x'), insertion the other way.
    """

    areas: Array
    deletion: Array
    insertion: Array

    @property
    def deletion_area(self) -> float:
        """The mean of the deletion curve over the area, as a part of the way from f(x') = 0 to f(x) = 1."""
        return self._mean(self.deletion)

    @property
    def insertion_area(self) -> float:
        """The same of the insertion curve."""
        return self._mean(self.insertion)

    def first_to_keep(self, share: float) -> int:
        """Return how many parts, the first ones of the order, keep a share of f(x) - f(x'): the fewest; K at most."""
        reached = np.flatnonzero(self.share(self.insertion) >= share)
        return int(reached[0]) if len(reached) else len(self.areas) - 1

    def share(self, curve: Array) -> Array:
        """Return a curve as a part of the way from f(x') = 0 to f(x) = 1; NaN where these are equal."""
        start, end = self.insertion[0], self.deletion[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            share: Array = (curve - start) / (end - start)
        return share

    def _mean(self, curve: Array) -> float:
        return float(np.trapezoid(self.share(curve), self.areas))


@dataclass(frozen=True)
class Verification:
    """Curves of an attribution's own order, and of others.

    Attributes
    ----------
    curves : Curves
    chances : tuple of Curves
        Of the same parts in orders by chance.
    """

    curves: Curves
    chances: tuple[Curves, ...]

    @property
    def passes(self) -> int:
        """Points that were computed."""
        return sum(2 * len(one.areas) for one in (self.curves, *self.chances))

    @property
    def falls_sooner(self) -> bool:
        """Whether the output falls sooner under deletion than by any chance."""
        own = self.curves.deletion_area
        return bool(np.isfinite(own)) and all(own < chance.deletion_area for chance in self.chances)

    @property
    def rises_sooner(self) -> bool:
        """Whether the output rises sooner under insertion than by any chance."""
        own = self.curves.insertion_area
        return bool(np.isfinite(own)) and all(own > chance.insertion_area for chance in self.chances)

    @property
    def better_than_chance(self) -> bool:
        """Whether it does both; also where there is no other order."""
        return self.falls_sooner and self.rises_sooner


def passes(parts: int) -> int:
    """Return the points that :func:`verify` computes from one baseline, of an order of so many parts."""
    return 2 * (parts + 1) + CHANCES * 2 * (min(parts, SLICES) + 1)


def slices(scores: Array, changed: NDArray[np.bool_], count: int = SLICES) -> Parts:
    """Return an order of single units, the highest score first, cut into parts of equal size.

    Parameters
    ----------
    scores : ndarray, (P,)
    changed : ndarray, (P,), bool
        Whether x and x' differ there; the others go last, and count for no area.
    count : int, default SLICES
        Parts; fewer where there are fewer units.
    """
    order = np.lexsort((-scores, ~changed))
    number = int(changed.sum())
    parts = np.empty(len(scores), np.int64)
    count = max(1, min(count, number))
    parts[order] = np.minimum(np.arange(len(order)) * count // max(1, number), count - 1)
    return parts


def ranked_groups(groups: NDArray[np.bool_], order: Sequence[int]) -> Parts:
    """Return when each unit goes where groups go whole, in an order; what is in none of them goes last.

    Parameters
    ----------
    groups : ndarray, (G, P), bool
        They may overlap: a unit goes with the first that has it.
    order : sequence of int
        Which group goes first, second and on.
    """
    parts = np.full(groups.shape[1], len(order), np.int64)
    for place in reversed(range(len(order))):
        parts[groups[order[place]]] = place
    _, dense = np.unique(parts, return_inverse=True)
    return dense.reshape(parts.shape).astype(np.int64)


def chances_of_groups(parts: Parts) -> list[Parts]:
    """Return the same parts in other orders by chance, several at once where there are more than :data:`SLICES`.

    None of a single part, which has no other order.
    """
    random = np.random.default_rng(SEED)
    count = int(parts.max()) + 1
    if count == 1:
        return []
    together = np.arange(count) * min(count, SLICES) // count
    return [together[_another_order(random, count)][parts] for _ in range(CHANCES)]


def _another_order(random: np.random.Generator, count: int) -> Parts:
    """Return a permutation of at least two that is not the order as it is."""
    while True:
        order = random.permutation(count)
        if (order != np.arange(count)).any():
            return order


def chances_of_a_map(parts: Parts, shape: tuple[int, ...]) -> list[Parts]:
    """Return the same map moved elsewhere, around the edges.

    Single pixels by chance would be no fair rival: noise disturbs a network more than the same area in patches does.
    The parts of a text, and of whatever else lies in a row, go in another order.
    """
    random = np.random.default_rng(SEED)
    if len(shape) == 1:
        count = int(parts.max()) + 1
        return [_another_order(random, count)[parts] for _ in range(CHANCES)] if count > 1 else []
    moved = []
    for _ in range(CHANCES):
        # Far enough to be elsewhere.
        by = tuple(int(random.integers(side // 4, max(side // 4 + 1, side - side // 4 + 1))) for side in shape)
        moved.append(np.roll(parts.reshape(shape), by, tuple(range(len(shape)))).reshape(-1))
    return moved


@dataclass(frozen=True)
class Ends:
    """What parts of an input are exchanged between: x, and one x' or several, over which outputs are averaged.

    Attributes
    ----------
    x : Tensor, (*shape)
    baselines : sequence of Tensor, (*shape)
    units : Tensor, (P, C), int64
        Where the features of each unit are in x, flattened.
    """

    x: Tensor
    baselines: Sequence[Tensor]
    units: Tensor

    @cached_property
    def changed(self) -> NDArray[np.bool_]:
        """Whether x and a baseline differ at each unit, (P,)."""
        differ = torch.stack([self.x != baseline for baseline in self.baselines]).any(0)
        changed: NDArray[np.bool_] = differ.flatten()[self.units.to(self.x.device)].any(1).cpu().numpy()
        return changed


def verify(
    output: Callable[[Tensor], Tensor],
    ends: Ends,
    orders: Sequence[Parts],
    chunk_rows: int,
    before_pass: Callable[[], None] = lambda: None,
) -> Verification:
    """Compute the curves of an order and of others.

    Parameters
    ----------
    output : callable
        Points (B, *shape) to the output that was attributed, (B,).
    ends : Ends
    orders : sequence of ndarray, (P,)
        When each unit goes, and orders to hold that against.
    chunk_rows : int
        Points a batch.
    before_pass : callable, optional
        Called before each pass through the network; raising stops.
    """
    x = ends.x

    def curves(parts: Parts) -> Curves:
        count = int(parts.max()) + 1
        when = torch.empty(x.numel(), dtype=torch.int64)
        when[ends.units.flatten()] = torch.from_numpy(parts).repeat_interleave(ends.units.shape[1])
        when = when.view(x.shape).to(x.device)
        # What went already has the one value, the rest still the other.
        pairs = [*((baseline, x) for baseline in ends.baselines), *((x, baseline) for baseline in ends.baselines)]
        ways = [(went, *pair) for pair in pairs for went in range(count + 1)]
        found: list[float] = []
        with torch.no_grad():
            for first in range(0, len(ways), chunk_rows):
                before_pass()
                some = ways[first : first + chunk_rows]
                points = torch.stack([torch.where(when < went, new, old) for went, new, old in some])
                found += output(points).double().tolist()
        deletion, insertion = np.array(found).reshape(2, len(ends.baselines), count + 1).mean(1)
        sizes = np.bincount(parts, weights=ends.changed, minlength=count)
        areas = np.concatenate([[0.0], np.cumsum(sizes)]) / max(1.0, float(sizes.sum()))
        return Curves(areas, deletion, insertion)

    own, *others = map(curves, orders)
    return Verification(own, tuple(others))
