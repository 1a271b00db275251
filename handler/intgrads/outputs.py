"""What the outputs of a network are, and the probabilities that they stand for.

Of classes that exclude each other one is true: ``softmax``. Of several labels any may be true, each for itself:
``sigmoid``. Other networks give plain numbers, a rating say: ``none``, and no probabilities. What is attributed is the
output itself in each case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from intgrads.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from intgrads.labels import Labels

Outputs = Literal["softmax", "sigmoid", "none"]
OUTPUTS: tuple[str, ...] = get_args(Outputs)

LIKELY = 0.5
"""Probability from which a label counts as given, where any number of them may be."""


def check_outputs(outputs: Outputs, count: int) -> None:
    """Raise CheckpointError where outputs of this kind make no sense of their number."""
    if outputs == "softmax" and count == 1:
        raise CheckpointError(
            "the softmax of a single output is 1 for whatever is sent; --set outputs=none, or sigmoid where it is the "
            "logit of a yes"
        )


def likeliest(logits: Tensor) -> list[int]:
    """Return the indices of logits (C,), the largest first, of equal ones the first first."""
    order: list[int] = logits.argsort(descending=True, stable=True).tolist()
    return order


def predicted_labels(outputs: Outputs, logits: Tensor, labels: Labels) -> list[str]:
    """Return the labels that a network gives an input by its logits (C,): one, any number of them, or none at all.

    Of any number, likeliest first, those of a probability of :data:`LIKELY` or more.
    """
    if outputs == "none":
        return []
    order = likeliest(logits)
    if outputs == "softmax":
        return [labels[order[0]]]
    return [labels[index] for index in order if logits[index].sigmoid() >= LIKELY]


def probabilities(outputs: Outputs, logits: Tensor) -> Tensor | None:
    """Return the probabilities, (C,), that logits (C,) stand for; None where they stand for none."""
    if outputs == "softmax":
        return logits.softmax(0)
    return logits.sigmoid() if outputs == "sigmoid" else None
