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
    def better_than_chance(self) -> bool:
        """Whether the output falls sooner under deletion and rises sooner under insertion than by any chance."""
        return bool(
            self.curves.deletion_area < min(chance.deletion_area for chance in self.chances)
            and self.curves.insertion_area > max(chance.insertion_area for chance in self.chances)
        )


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
    """Return the same parts in orders by chance."""
    random = np.random.default_rng(SEED)
    return [random.permutation(int(parts.max()) + 1)[parts] for _ in range(CHANCES)]


def chances_of_a_map(parts: Parts, shape: tuple[int, ...]) -> list[Parts]:
    """Return the same map moved elsewhere, around the edges.

    Single pixels by chance would be no fair rival: noise disturbs a network more than the same area in patches does.
    A text's tokens, and whatever else lies in a row, go in any order.
    """
    random = np.random.default_rng(SEED)
    if len(shape) == 1:
        return [random.permutation(parts) for _ in range(CHANCES)]
    moved = []
    for _ in range(CHANCES):
        # Far enough to be elsewhere.
        by = tuple(int(random.integers(side // 4, max(side // 4 + 1, side - side // 4 + 1))) for side in shape)
        moved.append(np.roll(parts.reshape(shape), by, tuple(range(len(shape)))).reshape(-1))
    return moved


def verify(
    output: Callable[[Tensor], Tensor],
    ends: tuple[Tensor, Tensor],
    units: Tensor,
    orders: Sequence[Parts],
    chunk_rows: int,
) -> Verification:
    """Compute the curves of an order and of others.

    Parameters
    ----------
    output : callable
        Points (B, *shape) to the output that was attributed, (B,).
    ends : Tensor, Tensor, (*shape)
        x and x'.
    units : Tensor, (P, C), int64
        Where the features of each unit are in x, flattened.
    orders : sequence of ndarray, (P,)
        When each unit goes, and orders to hold that against.
    chunk_rows : int
        Points a batch.
    """
    x, baseline = ends
    changed = (x != baseline).flatten()[units.to(x.device)].any(1).cpu().numpy()

    def curves(parts: Parts) -> Curves:
        count = int(parts.max()) + 1
        when = torch.empty(x.numel(), dtype=torch.int64)
        when[units.flatten()] = torch.from_numpy(parts).repeat_interleave(units.shape[1])
        when = when.view(x.shape).to(x.device)
        # What went already has the one value, the rest still the other.
        ways = [(went, *pair) for pair in ((baseline, x), (x, baseline)) for went in range(count + 1)]
        found: list[float] = []
        with torch.no_grad():
            for first in range(0, len(ways), chunk_rows):
                some = ways[first : first + chunk_rows]
                points = torch.stack([torch.where(when < went, new, old) for went, new, old in some])
                found += output(points).double().tolist()
        sizes = np.bincount(parts, weights=changed, minlength=count)
        areas = np.concatenate([[0.0], np.cumsum(sizes)]) / max(1.0, float(sizes.sum()))
        return Curves(areas, np.array(found[: count + 1]), np.array(found[count + 1 :]))

    own, *others = map(curves, orders)
    return Verification(own, tuple(others))
