"""Refinement: nodes where the map needs them, until its error is met.

The integrand is read as local cubics through neighbouring nodes. The gaps between nodes that add most to the error of
the map are halved, round after round; all nodes stay nodes. On a network of ReLUs this is as good as the trapezoid
rule, on a smooth one it has the order of Simpson's, and where the integrand does not change no node is spent. Besides
the map's error (map_error.py) the local error (convergence.py) must be met, which finds a change however near to an end
of the path it lies, as with networks that normalise their input's scale away and a baseline of zeros.

Weights are known at the end only, since a new node changes those of its neighbours, and so gradients are held until
then. When there is no room for more of them, all further nodes are planned at once from what each gap adds, their
weights with them, and gradients need be held no longer.

Leads: Bhat and Raychowdhury (arXiv 2302.11107) allot nodes by the change of f; Gander and Gautschi (BIT 40, 2000) on
adaptive quadrature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intgrads.integral.convergence import Samples, gap_errors, local_error
from intgrads.integral.interpolation import gap_integrals
from intgrads.integral.map_error import allotment, map_norms, nearest_rates, refined_models
from intgrads.integral.quadrature import Rule
from intgrads.integral.walk import ErrorModel

Array = NDArray[np.float64]

LEAST_REFINEMENT = 5
"""Nodes of the first round: the ends of each quarter of the path."""
SHARE = 0.3
"""Part of what is to be mended that one round mends: the worst gaps that make it up are halved."""

LEAST_ROUND = 3
"""Gaps that a round halves at least: each round is a batch, and one of a point or two takes as long as one of three."""

HALVED = 0.25
"""Part of a gap's squared error that is left when it is halved, on a network whose gradient jumps."""

AIM, PLANNED_AIM = 0.97, 0.85
"""Parts of the tolerance that rounds and a plan aim at, since what is left of a gap that is cut is only expected. A
plan that fails costs most: what its nodes' neighbours weigh changes, and they are computed again."""

LEAST_WIDTH = 2.0**-44
"""No gap is made narrower: beside a node of order 1 there are no more points between."""

TOUCHED = 7
"""Nodes of which the weight changes, or is new, where a gap is halved."""


class Refinement:
    """Chooses nodes on [0, 1] in rounds.

    Parameters
    ----------
    tolerance : float
        Met when, for every target, the estimated error of the map is at most this part of the map, and the local error
        at most this part of |f(x) - f(x')|.
    max_evaluations : int
        Most nodes.
    start_nodes : int, default 0
        Nodes of the first round, rounded up to a multiple of 4, and one.
    """

    name = "refined"

    def __init__(self, tolerance: float, max_evaluations: int, start_nodes: int = 0) -> None:
        self.tolerance = tolerance
        self.most = max_evaluations
        least = LEAST_REFINEMENT - 1
        wanted = max(1, -(-(start_nodes - 1) // least))
        self._gaps = least * min(wanted, max(1, (max_evaluations - 1) // least))
        self._planned: Rule | None = None

    @property
    def known_weights(self) -> dict[float, float] | None:
        """The weight of each node since all were planned at once; None before."""
        return None if self._planned is None else self._planned.known_weights

    def start(self, room: int | None = None) -> list[float]:
        """Return the nodes of the first round, given how many gradients can be held, None for any number."""
        grid = np.arange(self._gaps + 1) / self._gaps
        if room is not None and len(grid) > room:
            self._planned = _cubics(grid)
        nodes: list[float] = grid.tolist()
        return nodes

    def more(self, samples: Samples, affordable: int, room: int | None) -> list[float]:
        """Return the nodes of the next round; none when done.

        Parameters
        ----------
        samples : Samples
            At all nodes that were returned so far.
        affordable : int
            Points that may still be computed.
        room : int or None
            Gradients that can still be held; None for any number.
        """
        models = refined_models(samples)
        total = map_norms(self.rule(samples), samples)
        met = local_error(samples) <= samples.allowed(self.tolerance)
        sought = np.stack([self._sought(model, samples, t, total[t]) for t, model in enumerate(models)], axis=1)
        if not met.all():
            off = np.abs(gap_errors(samples))
            for t in np.flatnonzero(~met):
                sought[:, t] += _share(off[:, t])
        worst = sought.max(axis=1)
        worst[np.diff(samples.alphas) <= LEAST_WIDTH] = 0
        if not worst.any():
            return []
        if self._planned is not None:
            affordable //= TOUCHED
        chosen = self._worst_gaps(models, samples, total, worst, enough=bool(met.all()))[:affordable]
        if len(chosen) > 1 and len(samples.alphas) == LEAST_REFINEMENT:
            # Five nodes tell little of where, and each round is a batch.
            chosen = np.arange(len(worst))[:affordable]
        pieces = np.ones(len(worst), np.int64)
        pieces[chosen] = 2
        if self._planned is not None or (room is not None and len(chosen) > room):
            least = np.where(worst > 0, 1 if met.all() else 2, 1)
            pieces = np.maximum(pieces, self._plan(models, samples, total, least, affordable))
            self._planned = _cubics(np.sort(np.concatenate([samples.alphas, _within(samples.alphas, pieces)])))
        nodes: list[float] = _within(samples.alphas, pieces).tolist()
        return nodes

    def _sought(self, model: ErrorModel, samples: Samples, t: int, total: float) -> Array:
        """Return the part of each gap in what is to be mended of a target's map; zeros where nothing is."""
        parts = np.zeros(len(samples.alphas) - 1)
        if model.norm(samples.sketches[:, t]) > self.tolerance * total:
            # By the nearest neighbours alone: what is smooth over five nodes need not be halved for a jump beside it.
            parts += _share(np.diff(samples.alphas) ** 2 * nearest_rates(samples.alphas, samples.sketches[:, t]))
        return parts

    def _worst_gaps(
        self, models: list[ErrorModel], samples: Samples, total: Array, worst: Array, *, enough: bool
    ) -> NDArray[np.int64]:
        """Return the gaps to halve in this round, the worst first: few more than likely needed, where maps are all."""
        order = np.argsort(-worst, kind="stable")
        several = int(np.searchsorted(np.cumsum(worst[order]), SHARE * worst.sum())) + 1
        if enough:
            needed = 1
            for t, model in enumerate(models):
                gaps = model.of_gaps(samples.sketches[:, t]).sum(1)[order]
                excess = model.norm(samples.sketches[:, t]) ** 2 - (AIM * self.tolerance * total[t]) ** 2
                needed = max(needed, int(np.searchsorted(np.cumsum((1 - HALVED) * gaps), excess)) + 1)
            several = min(several, needed)
        chosen = order[: max(several, LEAST_ROUND)]
        return chosen[worst[chosen] > 0]

    def _plan(
        self, models: list[ErrorModel], samples: Samples, total: Array, least: NDArray[np.int64], affordable: int
    ) -> NDArray[np.int64]:
        """Return into how many pieces to cut each gap, at least some, so that the tolerance is likely to be met."""
        pieces = least.astype(np.float64)
        for t, model in enumerate(models):
            pieces = np.maximum(
                pieces, allotment(model, samples.sketches[:, t], PLANNED_AIM * self.tolerance * total[t])
            )
        pieces[np.diff(samples.alphas) <= LEAST_WIDTH] = 1
        extra = pieces - 1
        if extra.sum() > affordable:
            extra = extra * affordable / extra.sum()
        return 1 + np.floor(extra).astype(np.int64)

    def models(self, samples: Samples) -> list[ErrorModel]:
        """Return the error of the map for each target."""
        return refined_models(samples)

    def rule(self, samples: Samples) -> Rule:
        """Return the nodes and their weights."""
        return _cubics(samples.alphas)


def _cubics(alphas: Array) -> Rule:
    return Rule(alphas, gap_integrals(alphas, 4).weights(len(alphas)), Refinement.name)


def _within(alphas: Array, pieces: NDArray[np.int64]) -> Array:
    """Return the nodes that cut each gap into equal pieces."""
    cut = np.repeat(np.arange(len(pieces)), pieces - 1)
    place = np.arange(len(cut)) - np.searchsorted(cut, cut) + 1
    widths = np.diff(alphas)
    nodes: Array = alphas[cut] + widths[cut] * place / pieces[cut]
    return nodes


def _share(quantity: Array) -> Array:
    """Return each gap's part of a quantity (gaps,); zeros where there is none at all."""
    part: Array = quantity / (quantity.sum() or 1.0)
    return part
