"""What the service needs of a network and of what it was sent, be it pictures or text: the seam between the two.

``models/image.py``, ``models/detector.py`` and ``models/text.py`` are the sides of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray
from torch import Tensor, nn

from intgrads.integral.attribution import Attribution
from intgrads.integral.groups import Family, GroupValues
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.request import Request
from intgrads.settings import Settings


class Subject(Protocol):
    """One input of a request: what is attributed, and how people are shown it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of x, without a batch."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What was changed on the way, for the caller to read."""
        ...

    @property
    def attributed(self) -> bool:
        """Whether anything of it is to be attributed."""
        ...

    def bind(self, module: nn.Module) -> nn.Module:
        """Return a network as it takes points of this input's path, (B, *shape) to logits.

        Inputs for which it is the same object share batches.
        """
        ...

    @property
    def labels(self) -> Labels:
        """One for each of these logits."""
        ...

    @property
    def targets(self) -> tuple[int, ...] | None:
        """The logits to attribute where the caller names none; None for the largest."""
        ...

    @property
    def family(self) -> Family | None:
        """The groups that were asked for."""
        ...

    def path(self) -> tuple[Tensor, Tensor]:
        """Return x and x'."""
        ...

    def by_unit(self, features: Tensor) -> Tensor:
        """Return something like x, (*shape), as units and their features, (P, C)."""
        ...

    def figures(self, attribution: Attribution | None) -> dict[str, NDArray[Any]]:
        """Return small arrays that come with every answer; those whose names end in ``_scores`` are (T, …)."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return large arrays beside the attribution's, those that were asked for."""
        ...

    def strings(self) -> dict[str, list[str]]:
        """Return lists of strings that come with every answer."""
        ...

    def info(self) -> dict[str, Any]:
        """Return what is told of the input, as plain JSON."""
        ...

    def png(self, attribution: Attribution | None, groups: GroupValues | None, info: str) -> bytes:
        """Return the picture of a png answer, a text in its chunk ``info``."""
        ...

    def section(self, attribution: Tensor | None, groups: GroupValues | None) -> str:
        """Return the HTML that shows one target's attribution, (*shape), if any, and what its groups carry."""
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

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        ...

    def subjects(self, request: Any, settings: Settings) -> Sequence[Subject]:
        """Read what was sent; raises :class:`intgrads.errors.RequestError` where it cannot be."""
        ...


AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)
