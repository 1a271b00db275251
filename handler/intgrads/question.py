"""What a caller asks about outputs: how much there is of a target, what tells it from others, or how likely it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intgrads.errors import RequestError
from intgrads.integral.functionals import Contrast, Functional, Logit, LogOdds, LogProbability, Probability
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.request import REST, Request, Scale


@dataclass(frozen=True)
class Question:
    """What of each target is attributed.

    Attributes
    ----------
    against : tuple of int
        The outputs that a target is told from; empty for none, or for all others.
    rest : bool
        Whether it is told from all others.
    several : bool
        Whether the caller sent a list of others.
    scale : str
        Of the target: its logit, or what the outputs say of its probability.
    outputs : str
        What these are; see :mod:`intgrads.outputs`.
    """

    against: tuple[int, ...] = ()
    rest: bool = False
    several: bool = False
    scale: Scale = "logit"
    outputs: Outputs = "softmax"

    def of(self, target: int) -> Functional:
        """Return what of a target is attributed."""
        if self.rest:
            return LogOdds(target)
        if self.against:
            return Contrast(target, self.against)
        if self.scale == "logit":
            return Logit(target)
        sigmoid = self.outputs == "sigmoid"
        return (Probability if self.scale == "probability" else LogProbability)(target, sigmoid)

    def check(self, targets: Sequence[int], labels: Labels, *, predicted: bool = False) -> None:
        """Refuse a target that is told from itself.

        Parameters
        ----------
        targets : sequence of int
        labels : Labels
        predicted : bool
            Whether the caller left the target to the network.

        Raises
        ------
        RequestError
        """
        for target in targets:
            if target in self.against:
                what = "the predicted class is" if predicted else "the target is"
                remedy = "send another `target_class`" if predicted else "name others"
                raise RequestError(f"{what} {labels[target]!r}, which `against` names too; {remedy}", "against")

    def title(self, label: str, labels: Labels) -> str:
        """Return in words what of a target is attributed."""
        if self.rest:
            return f"{label}, against all others"
        if self.against:
            return f"{label}, and not {' or '.join(labels[index] for index in self.against)}"
        return {"logit": "", "log_probability": "log probability of ", "probability": "probability of "}[
            self.scale
        ] + label


def read_question(request: Request, labels: Labels, outputs: Outputs) -> Question:
    """Return what a request asks about the outputs of a network.

    Raises
    ------
    RequestError
        If a label is unknown or named twice, or the outputs have no such thing.
    """
    if request.output != "logit" and outputs == "none":
        raise RequestError(
            "the outputs of this archive are plain numbers, which stand for no probabilities; leave `output` out",
            "output",
        )
    asked = request.against
    if asked is None:
        return Question(scale=request.output, outputs=outputs)
    if request.output != "logit":
        raise RequestError("`against` compares logits; send one of `output` and `against`, not both", "output")
    if asked == REST:
        if outputs != "softmax" or len(labels) < 2:
            raise RequestError(
                "`rest` is about classes of which one is true, and these outputs are none; leave `against` out: "
                "where any label may be true, its logit is its log-odds already",
                "against",
            )
        return Question(rest=True, outputs=outputs)
    several = isinstance(asked, list)
    names = asked if isinstance(asked, list) else [asked]
    if REST in names and not labels.find(REST):
        raise RequestError(f"{REST!r} stands for all others, alone and not in a list", "against")
    against = tuple(labels.resolve(name, "against") for name in names)
    twice = next((index for index in against if against.count(index) > 1), None)
    if twice is not None:
        raise RequestError(f"{labels[twice]!r} is named twice; name each class once", "against")
    return Question(against, several=several, outputs=outputs)
