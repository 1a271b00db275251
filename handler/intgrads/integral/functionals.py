r"""What of a network's logits is attributed: one number for each row of them, differentiable.

Integrated Gradients attribute a function of the input to one number (Sundararajan et al. 2017). Which number is the
question that is asked: how much there is of a class (:class:`Logit`), what tells it from another (:class:`Contrast`),
what tells it from all others (:class:`LogOdds`), or how likely the network says it is (:class:`LogProbability`,
:class:`Probability`). Each has its own f(x), f(x'), gradients and errors; a new one is a class like these here.

All are computed in float64. The gradient of a probability close to 1 is p (1 - p), and in float32 there would be
nothing left of 1 - p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Functional(Protocol):
    """A number made of logits. Equal ones are computed together."""

    @property
    def indices(self) -> tuple[int, ...]:
        """The logits that it names."""
        ...

    def of(self, logits: Tensor) -> Tensor:
        """Return it for each row of logits (B, C): (B,)."""
        ...


@dataclass(frozen=True)
class _OfTarget:
    """What names one logit, the target's."""

    target: int

    @property
    def indices(self) -> tuple[int, ...]:
        """The target."""
        return (self.target,)


@dataclass(frozen=True)
class Logit(_OfTarget):
    """The logit of a target: f_t."""

    def of(self, logits: Tensor) -> Tensor:
        """Return it for each row of logits (B, C): (B,)."""
        return logits[:, self.target]


@dataclass(frozen=True)
class Contrast:
    """What tells a target from others: f_t minus the mean of theirs.

    With one other, and where one class is true, it is the logarithm of how much likelier the target is.
    """

    target: int
    against: tuple[int, ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """The target and the others."""
        return (self.target, *self.against)

    def of(self, logits: Tensor) -> Tensor:
        """Return it for each row of logits (B, C): (B,)."""
        return logits[:, self.target] - logits[:, list(self.against)].mean(1)


@dataclass(frozen=True)
class LogOdds(_OfTarget):
    r"""A target against all others: :math:`f_t - \log \sum_{j \ne t} \exp f_j`, which is log p / (1 - p) of a softmax.

    It has no ceiling, as p has, and a shift of all logits does not change it.
    """

    def of(self, logits: Tensor) -> Tensor:
        """Return it for each row of logits (B, C), C at least 2: (B,)."""
        others = torch.cat([logits[:, : self.target], logits[:, self.target + 1 :]], dim=1)
        return logits[:, self.target] - others.logsumexp(1)


@dataclass(frozen=True)
class LogProbability(_OfTarget):
    """The logarithm of a target's probability: by a softmax, or a sigmoid where outputs do not exclude each other."""

    sigmoid: bool = False

    def of(self, logits: Tensor) -> Tensor:
        """Return it for each row of logits (B, C): (B,)."""
        own = logits[:, self.target]
        return logsigmoid(own) if self.sigmoid else own - logits.logsumexp(1)


@dataclass(frozen=True)
class Probability(LogProbability):
    """A target's probability: by a softmax, or by a sigmoid where outputs do not exclude each other."""

    def of(self, logits: Tensor) -> Tensor:
        """Return it for each row of logits (B, C): (B,)."""
        return super().of(logits).exp()


OfTarget = Callable[[int], Functional]
"""From a target, perhaps one that is known only when the network has seen x, to what of it is attributed."""


def total(functionals: Sequence[Functional], logits: Tensor) -> Tensor:
    """Return the sum over the rows of logits (B, C) of a functional of each; one backward pass serves all of them."""
    if all(isinstance(one, Logit) for one in functionals):
        column = torch.tensor([one.indices[0] for one in functionals], device=logits.device)
        return logits.gather(1, column[:, None]).sum()
    rows: dict[Functional, list[int]] = {}
    for row, one in enumerate(functionals):
        rows.setdefault(one, []).append(row)
    exact = logits.double()
    return torch.stack([one.of(exact[of]).sum() for one, of in rows.items()]).sum()
