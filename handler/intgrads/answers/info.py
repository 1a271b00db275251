"""The figures of an answer: what ``info`` holds, and JSON, pages and headers tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from intgrads.answers.verified import Kept, Verified, finite
from intgrads.baselines import DATA
from intgrads.integral.ablation import Verification
from intgrads.integral.attribution import Attribution
from intgrads.integral.convergence import RELATIVE_ERROR
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.labels import Labels
from intgrads.outputs import Outputs, likeliest, predicted_labels, probabilities
from intgrads.question import Question
from intgrads.request import REST, Request, Scale
from intgrads.speed.precision import Precision
from intgrads.subject import Baseline

UNRESOLVED = 0.3
"""An estimated error of the map above this says that there is no map yet; how far it is off is not known then."""

TOLERANCES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Of which a warning names one."""

TOP = 5
"""How many of the largest outputs an answer lists."""


@dataclass(frozen=True)
class Output:
    """One output of a network.

    Attributes
    ----------
    index : int
    label : str
    logit : float
        As the network gives it.
    probability : float or None
        None where the outputs stand for none.
    """

    index: int
    label: str
    logit: float
    probability: float | None


@dataclass(frozen=True)
class Target:
    """An output that was attributed, what of it in words, f(x), f(x'), their difference and the errors of its integral.

    They are in the output's units, but the error of the map is a part of the map.
    """

    output: Output
    title: str
    value: float
    baseline_value: float
    difference: float
    convergence_delta: float
    local_error: float
    attribution_error: float
    converged: bool


@dataclass(frozen=True)
class FromBaseline:
    """What is told of one of several baselines: how it is called, and of its own path, for each target."""

    baseline: str
    seed: int | None
    evaluations: int
    n_steps: int
    baseline_value: list[float]
    difference: list[float]
    convergence_delta: list[float]
    local_error: list[float]
    attribution_error: list[float]
    converged: list[bool]


OF_BASELINE = (
    "baseline_value",
    "difference",
    "convergence_delta",
    "local_error",
    "attribution_error",
    "converged",
)
"""What an answer tells of each baseline for each target."""


@dataclass(frozen=True)
class Integral:
    """What is told of an integral.

    Attributes
    ----------
    outputs : str
        What the outputs are; see :mod:`intgrads.outputs`.
    top : tuple of Output
        The largest, the first being the prediction.
    predicted_labels : list of str
    targets : tuple of Target
    evaluations, n_steps : int
        Points that were computed, and nodes among them.
    method, precision : str
    baseline : str or list of str
        As it was asked for.
    tolerance : float or None
    seed : int
    attributed : str
        What of a target was: its logit, log probability or probability.
    against : str, list of str or None
        The labels that it was told from, or that it was from the rest.
    baselines : tuple of FromBaseline, or None
        The single ones, where the integral is the mean over several.
    """

    outputs: Outputs
    top: tuple[Output, ...]
    predicted_labels: list[str]
    targets: tuple[Target, ...]
    evaluations: int
    n_steps: int
    method: str
    tolerance: float | None
    precision: str
    baseline: str | list[str]
    seed: int
    attributed: Scale
    against: str | list[str] | None
    baselines: tuple[FromBaseline, ...] | None = None

    @property
    def evaluations_of_one(self) -> int:
        """Points that were computed on the path from one baseline, at most."""
        return max((one.evaluations for one in self.baselines), default=0) if self.baselines else self.evaluations

    @property
    def cancels(self) -> bool:
        """Whether the map from each of several baselines has converged, for all targets, whatever their mean has."""
        return self.baselines is not None and all(all(one.converged) for one in self.baselines)


@dataclass(frozen=True)
class Group:
    """What a group carries, for each target: see :mod:`intgrads.integral.groups`. Of regions also its parent.

    An error is None where it could not be estimated.
    """

    kind: str
    label: str
    size: int
    parent: int | None
    idg: list[float]
    dividend: list[float]
    value: list[float]
    integrated_gradients: list[float]
    idg_error: list[float | None]
    dividend_error: list[float | None]
    value_error: list[float | None]
    integrated_gradients_error: list[float | None]


@dataclass(frozen=True)
class Info:
    """All figures of one answer.

    Attributes
    ----------
    model : str
    warnings : tuple of str
    input : mapping
        What is told of the input, as plain JSON.
    integral : Integral or None
        None where nothing was attributed.
    groups : tuple of Group, or None
    verified : tuple of Verified, or None
        How the order of the answer fares under deletion and insertion, for each target.
    kept : tuple of Kept, or None
        The regions that keep a share of the output, for each target.
    several_targets : bool
        Whether the caller sent a list of targets: what depends on them is a list then.
    """

    model: str
    warnings: tuple[str, ...]
    input: Mapping[str, Any]
    integral: Integral | None = None
    groups: tuple[Group, ...] | None = None
    verified: tuple[Verified, ...] | None = None
    kept: tuple[Kept, ...] | None = None
    several_targets: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, flat, under the names of the documentation."""
        told: dict[str, Any] = {"model": self.model}
        if self.integral is not None:
            told |= self._integral(self.integral)
        told |= {"warnings": list(self.warnings), **self.input}
        if self.groups is not None:
            told["groups"] = [
                asdict(group) | {name: self._each(getattr(group, name)) for name in GROUP_FIGURES.values()}
                for group in self.groups
            ]
            if self.kept is None:
                for group in told["groups"]:
                    del group["parent"]
        for name, each in (("verification", self.verified), ("kept", self.kept)):
            if each is not None:
                told[name] = self._each([asdict(one) for one in each])
        return told

    def _each(self, of_targets: Sequence[Any]) -> Any:
        return list(of_targets) if self.several_targets else of_targets[0]

    def _integral(self, integral: Integral) -> dict[str, Any]:
        targets = integral.targets
        several: dict[str, Any] = {}
        if integral.baselines is not None:
            several["baselines"] = [
                asdict(one) | {name: self._each(getattr(one, name)) for name in OF_BASELINE}
                for one in integral.baselines
            ]
        return {
            "outputs": integral.outputs,
            "prediction": asdict(integral.top[0]),
            "top": [asdict(output) for output in integral.top],
            "predicted_labels": integral.predicted_labels,
            "target_class": self._each([target.output.index for target in targets]),
            "target_label": self._each([target.output.label for target in targets]),
            "target_score": self._each([target.output.probability for target in targets]),
            "target_output": self._each([target.output.logit for target in targets]),
            "attributed": integral.attributed,
            "against": integral.against,
            "value": self._each([target.value for target in targets]),
            "baseline_value": self._each([target.baseline_value for target in targets]),
            "difference": self._each([target.difference for target in targets]),
            "convergence_delta": self._each([target.convergence_delta for target in targets]),
            "local_error": self._each([target.local_error for target in targets]),
            "attribution_error": self._each([target.attribution_error for target in targets]),
            "converged": self._each([target.converged for target in targets]),
            "evaluations": integral.evaluations,
            "n_steps": integral.n_steps,
            "method": integral.method,
            "tolerance": integral.tolerance,
            "precision": integral.precision,
            "baseline": integral.baseline,
            "seed": integral.seed,
        } | several


GROUP_FIGURES = {
    "idg": "idg",
    "dividends": "dividend",
    "values": "value",
    "integrated_gradients": "integrated_gradients",
    "idg_error": "idg_error",
    "dividends_error": "dividend_error",
    "values_error": "value_error",
    "integrated_gradients_error": "integrated_gradients_error",
}
"""What an answer tells of each group: in its arrays, after ``group_``, and in JSON's list."""


def integral_info(
    request: Request,
    attribution: Attribution,
    labels: Labels,
    *,
    method: str,
    precision: Precision,
    question: Question,
    baselines: Sequence[Baseline],
) -> Integral:
    """Return what is told of an integral, by the method and at the precision that were used."""
    outputs = question.outputs
    logits = attribution.output.double()
    shares = probabilities(outputs, logits)

    def output(index: int) -> Output:
        probability = None if shares is None else shares[index].item()
        return Output(index, labels[index], attribution.output[index].item(), probability)

    targets = zip(
        attribution.targets,
        attribution.value.tolist(),
        attribution.baseline_value.tolist(),
        attribution.difference.tolist(),
        attribution.convergence_delta.tolist(),
        attribution.local_error.tolist(),
        attribution.attribution_error.tolist(),
        attribution.converged.tolist(),
        strict=True,
    )
    against = [labels[index] for index in question.against]
    return Integral(
        outputs=outputs,
        top=tuple(output(index) for index in likeliest(logits)[:TOP]),
        predicted_labels=predicted_labels(outputs, logits, labels),
        targets=tuple(
            Target(output(index), question.title(labels[index], labels), *figures) for index, *figures in targets
        ),
        evaluations=attribution.evaluations,
        n_steps=len(attribution.alphas),
        method=method,
        tolerance=request.tolerance,
        precision=precision,
        baseline=request.baseline if request.baseline_data is None else DATA,
        seed=request.seed,
        attributed=question.scale,
        against=REST if question.rest else against if question.several else next(iter(against), None),
        baselines=_from_baselines(attribution, baselines) if attribution.each else None,
    )


def _from_baselines(attribution: Attribution, baselines: Sequence[Baseline]) -> tuple[FromBaseline, ...]:
    return tuple(
        FromBaseline(
            baseline.name,
            baseline.seed,
            one.evaluations,
            len(one.alphas),
            *(getattr(one, name).tolist() for name in OF_BASELINE),
        )
        for baseline, one in zip(baselines, attribution.each, strict=True)
    )


def group_infos(family: GroupFamily, groups: Sequence[GroupValues]) -> tuple[Group, ...]:
    """Return what is told of groups, given what they carry for each target."""
    sizes = family.members.sum(1).tolist()
    figures = {
        shown: [[finite(float(getattr(of_target, name)[k])) for of_target in groups] for k in range(len(sizes))]
        for name, shown in GROUP_FIGURES.items()
    }
    parents = (None,) * len(sizes) if family.parents is None else (*family.parents, None)
    rows = zip(family.kinds, family.labels, sizes, parents, *figures.values(), strict=True)
    return tuple(Group(*row) for row in rows)


def integral_warnings(
    request: Request, integral: Integral, expected: Callable[[float], int], most_evaluations: int
) -> list[str]:
    """Return what a caller should know of an integral before they believe it.

    Parameters
    ----------
    request : Request
    integral : Integral
    expected : callable
        From a tolerance to the evaluations that it is likely to take.
    most_evaluations : int
        That the archive allows.
    """
    warnings = []
    if integral.outputs == "none" and len(integral.top) > 1 and request.target_class is None:
        warnings.append(
            "target_class was not sent: the largest of the outputs was attributed, though they are plain numbers "
            "and no classes"
        )
    for target in integral.targets:
        if not target.converged:
            remedy = _remedy(target, integral, expected, most_evaluations)
            warnings.append(f"{_state(target, integral.tolerance or RELATIVE_ERROR)}; {remedy}")
    if request.tolerance and not all(target.converged for target in integral.targets) and not integral.cancels:
        warnings.append(f"the tolerance was not met within {integral.evaluations} evaluations")
    return warnings


def verification_warnings(integral: Integral, verifications: Sequence[Verification]) -> list[str]:
    """Return what a caller should know of an order that the network did not bear out."""
    warnings = []
    for target, verification in zip(integral.targets, verifications, strict=True):
        failed = [
            said
            for held, said in (
                (verification.falls_sooner, "under deletion the output falls no sooner"),
                (verification.rises_sooner, "under insertion the output rises no sooner"),
            )
            if not held
        ]
        if failed:
            warnings.append(
                f"the order of the parts for {target.title!r} is no better than chance: {' and '.join(failed)} than in "
                "other orders of the same parts; see `verification`"
            )
    return warnings


def _state(target: Target, tolerance: float) -> str:
    """Return in words how far off an integral is that has not converged."""
    of, error = f"for {target.title!r}", target.attribution_error
    if error > UNRESOLVED:
        return (
            f"the map {of} has not converged, it is not even resolved: its error is estimated at {error:.0%} of it, "
            f"and from {UNRESOLVED:.0%} on that says no more than that there is no map yet"
        )
    if error > tolerance:
        return f"the map {of} has not converged: it is off by about {_percent(error)}"
    off = f"local errors of {target.local_error:.2g} in a difference f(x) - f(x') of {target.difference:.4g}"
    return f"the integral {of} has not converged: the map is off by about {_percent(error)}, but there are {off}"


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %"


def _remedy(target: Target, integral: Integral, expected: Callable[[float], int], most_evaluations: int) -> str:
    """Return what would help, with what it is likely to cost."""
    if integral.tolerance is not None and integral.cancels:
        wanted = integral.tolerance**2 / max(target.attribution_error, integral.tolerance)
        tolerance = next((one for one in TOLERANCES if one < wanted), TOLERANCES[-1])
        return (
            "that from each baseline has, and parts of them cancel in the mean; "
            f"tolerance={tolerance:g} would take {_round(expected(tolerance))} evaluations or more for each baseline"
        )
    if integral.tolerance is not None:
        if integral.evaluations_of_one >= most_evaluations:
            return "this archive allows no more evaluations"
        if target.attribution_error <= integral.tolerance:
            return "more max_evaluations may help"
        tolerance = integral.tolerance
    else:
        # The next that is worth asking for: of an error of 9 % one half is little gain.
        wanted = UNRESOLVED if target.attribution_error > UNRESOLVED else target.attribution_error
        tolerance = next((one for one in TOLERANCES if one < wanted / 2), TOLERANCES[-1])
    evaluations = expected(tolerance)
    if evaluations > most_evaluations:
        return (
            f"tolerance={tolerance:g} would take more than the {most_evaluations} evaluations that this archive allows"
        )
    more = f", more than max_evaluations={integral.evaluations_of_one}" if integral.tolerance is not None else ""
    of_one = " for each baseline" if integral.baselines else ""
    return f"tolerance={tolerance:g} would take {_round(evaluations)} evaluations or more{of_one}{more}"


def _round(count: int) -> int:
    """Return a count to two digits."""
    return int(float(f"{count:.2g}"))
