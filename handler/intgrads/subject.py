"""The seam between the service and the kinds of input: what it needs of a network, and of what a caller sent for it.

A kind of input is a folder (pictures/, texts/, detections/) that offers a :class:`Classifier`. Its way: ``read``
decodes what was sent, ``look`` does whatever costs time before the integral (finding objects, making groups, the points
that the path runs between), and what comes of it is a :class:`Subject`: an :class:`Integrand`, and how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isqrt, prod
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from intgrads.baselines import Start
from intgrads.integral.attribution import Attribution, Sums
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.pages.exhibit import Exhibit
from intgrads.request import Request
from intgrads.settings import Settings

MOST_UNIT_SUMS = 256 * 2**20
"""Bytes that the sums over single pixels or tokens may take at all points together, kept for the errors of groups."""

MOST_PROFILE_SUMS = 64 * 2**20
"""Bytes that the sums may take which are told of each node of a path, at all points together."""

FINEST_PROFILE = 56
"""Blocks of pixels along the longer side of a picture, at most, of which such sums are made."""

Clock = Callable[[], None]
"""Raises a RequestError once the time that a request may take is over."""


@dataclass(frozen=True)
class Array:
    """An array of an answer beside those of the attribution.

    Attributes
    ----------
    name : str
    values : ndarray
    per_target : bool
        Whether its first axis is the targets'; it has none where the caller named a single target.
    large : bool
        Whether it is sent only where it is asked for. The others come with every answer, in JSON too.
    """

    name: str
    values: NDArray[Any]
    per_target: bool = False
    large: bool = False

    def tensor(self, several_targets: bool) -> Tensor:
        """Return it as it is sent."""
        values = torch.from_numpy(self.values)
        return (values[0] if self.per_target and not several_targets else values).contiguous()


@dataclass(frozen=True)
class Baseline:
    """Where one path starts: how answers call it, its seed if it was drawn at random, and x', (*shape)."""

    name: str
    seed: int | None
    point: Tensor


@dataclass(frozen=True)
class Integrand:
    """What is integrated of one input.

    Attributes
    ----------
    bind : callable
        From the network, or a copy of it, to what takes points of this input's path, (B, *shape) to logits. Inputs for
        which it returns the same object share batches.
    input : Tensor, (*shape)
        x.
    baselines : tuple of Baseline
        The path's start, or those of several paths, of which the answer has the mean; at least one.
    labels : Labels
        One for each of the logits.
    targets : tuple of int, or None
        The logits to attribute where the caller names none; None for the largest.
    family : GroupFamily or None
        The groups that were asked for.
    by_unit : callable
        From something like x, (*shape), to units and their features, (P, C).
    unit_shape : tuple of int
        How the P units lie.
    scores : bool
        Whether each unit is told a score, the sum over its features.
    kept_share : float or None
        The part of f(x) - f(x') that the smallest set of regions is to keep, where the family is a tree of them.
    """

    bind: Callable[[nn.Module], nn.Module]
    input: Tensor
    baselines: tuple[Baseline, ...]
    labels: Labels
    by_unit: Callable[[Tensor], Tensor]
    unit_shape: tuple[int, ...]
    targets: tuple[int, ...] | None = None
    family: GroupFamily | None = None
    scores: bool = False
    kept_share: float | None = None

    @property
    def baseline(self) -> Tensor:
        """The first x', (*shape)."""
        return self.baselines[0].point

    @property
    def unit_places(self) -> Tensor:
        """Where the features of each unit are in x, flattened, (P, C), int64."""
        return self.by_unit(torch.arange(self.input.numel()).view(self.input.shape))

    def unit_sums(self, along: Tensor) -> NDArray[np.float64]:
        """Return the sums over each unit's features of something like x for each target, (T, *shape): (T, P)."""
        return torch.stack([self.by_unit(of_target).sum(-1) for of_target in along]).double().cpu().numpy()

    def sums(self, points: int) -> Sums | None:
        """Return what sums up the features of units, where errors of theirs are told, and then of groups: (T, Q).

        Parameters
        ----------
        points : int
            For how many points and targets these sums may be kept at most. Units' sums are left out where they would
            take too much memory, unless each unit is told a score.
        """
        if self.family is None and not self.scores:
            return None
        members = None if self.family is None else csr_array(self.family.members, dtype=np.float64)
        small = 4 * prod(self.unit_shape) * points <= MOST_UNIT_SUMS
        of_each_unit = self.scores or (self.family is not None and self.family.units and small)

        def sum_up(along: Tensor) -> NDArray[np.float64]:
            of_units = self.unit_sums(along)
            parts = [of_units] if of_each_unit else []
            if members is not None:
                parts.append((members @ of_units.T).T)
            return np.concatenate(parts, axis=1)

        return sum_up

    def profile(self, points: int) -> Sums:
        """Return what sums up units as they are told of each node: (T, *blocks).

        Tokens stand alone. Pixels are summed up over squares, as many as may be kept for so many points and targets.
        """
        sides = self.unit_shape
        affordable = isqrt(max(1, MOST_PROFILE_SUMS // (4 * points)))
        block = 1 if len(sides) == 1 else ceil(max(sides) / min(FINEST_PROFILE, affordable))

        def sum_up(along: Tensor) -> NDArray[np.float64]:
            of_units = torch.stack([self.by_unit(of_target).sum(-1).view(sides) for of_target in along])
            if block > 1:
                of_units = avg_pool2d(of_units, block, ceil_mode=True, divisor_override=1)
            sums: NDArray[np.float64] = of_units.cpu().numpy()
            return sums

        return sum_up


class Shown(Protocol):
    """How one input and its attribution are told."""

    def arrays(self, attribution: Attribution | None) -> Sequence[Array]:
        """Return arrays beside the attribution's."""
        ...

    def strings(self) -> Mapping[str, list[str]]:
        """Return lists of strings that come with every answer."""
        ...

    def info(self) -> Mapping[str, Any]:
        """Return what is told of the input, as plain JSON."""
        ...

    def exhibit(self, attribution: Attribution | None, kept: Sequence[Sequence[int]]) -> Exhibit:
        """Return what a page shows of it and its attribution, if any.

        `kept` are, for each target, the regions among its groups that keep a share of the output, where that was asked
        for.
        """
        ...

    @property
    def draw(self) -> Callable[[Attribution | None, GroupValues | None, Sequence[int], str], NDArray[np.uint8]] | None:
        """Draws the picture, (H, W, 3), of a png answer, of the first target; None where there is none.

        It is given the attribution, what the groups carry, the regions among them that keep a share of the output, and
        what was attributed, in words.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """One input of a request, ready to be integrated and shown.

    Attributes
    ----------
    integrand : Integrand or None
        None where nothing of it is to be attributed.
    shown : Shown
    notes : tuple of str
        What was changed on the way, for the caller to read.
    """

    integrand: Integrand | None
    shown: Shown
    notes: tuple[str, ...] = ()


class Sent(Protocol):
    """One input of a request, decoded."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of x, without a batch; None where nothing is to be attributed."""
        ...

    @property
    def starts(self) -> Sequence[Start]:
        """Where its paths start."""
        ...

    def look(self, in_time: Clock) -> Subject:
        """Do what costs time before the integral.

        Raises
        ------
        RequestError
            If what was asked for cannot be found or made, or not in time.
        """
        ...


class Classifier(Protocol):
    """A network and what it takes."""

    @property
    def module(self) -> nn.Module:
        """The network, in evaluation mode and frozen."""
        ...

    @property
    def labels(self) -> Labels:
        """One for each output."""
        ...

    @property
    def outputs(self) -> Outputs:
        """What the outputs are; see :mod:`intgrads.outputs`."""
        ...

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of every input, without a batch; None where they differ."""
        ...

    @property
    def request(self) -> type[Request]:
        """What is asked of it."""
        ...

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Fields of a request whose defaults are not the request's own."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what it takes, as plain JSON."""
        ...

    def read(self, request: Any, settings: Settings) -> Sequence[Sent]:
        """Decode what was sent; raises :class:`intgrads.errors.RequestError` where it cannot be."""
        ...


AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)
