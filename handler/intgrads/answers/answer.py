"""An answer ready to be encoded: what was integrated, with all that is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intgrads.answers.info import GROUP_FIGURES, Info, Integral, group_infos
from intgrads.answers.page import answer_page, command
from intgrads.answers.verified import Kept, Verified, kept, told
from intgrads.formats.encodings import Contents
from intgrads.integral.ablation import Verification
from intgrads.integral.attribution import Attribution
from intgrads.integral.expectation import spread
from intgrads.integral.groups import Combine, GroupValues, group_values
from intgrads.integral.path import StraightPath
from intgrads.request import ERROR_MAP, SPREAD, Request
from intgrads.subject import Integrand, Subject


@dataclass(frozen=True)
class Attributed:
    """What was integrated of an input, and what came of it."""

    integrand: Integrand
    paths: Sequence[StraightPath]
    attribution: Attribution
    told: Integral
    groups: Sequence[GroupValues] = ()
    """What the groups that were asked for carry, for each target."""
    verifications: Sequence[Verification] = ()
    """How its order fares under deletion and insertion, for each target, where that was asked for."""


def answer(
    model: str,
    request: Request,
    subject: Subject,
    warnings: Sequence[str],
    attributed: Attributed | None = None,
    *,
    served_as: str | None = None,
) -> Contents:
    """Return the answer about an input.

    Parameters
    ----------
    model : str
    request : Request
    subject : Subject
    warnings : sequence of str
        For the caller to read.
    attributed : Attributed or None
        None where nothing of it was to be attributed.
    served_as : str, optional
        What the server calls the archive in its URL; by default `model`.
    """
    shown, draw = subject.shown, subject.shown.draw
    attribution = None if attributed is None else attributed.attribution
    groups = [] if attributed is None else list(attributed.groups)
    family = None if attributed is None else attributed.integrand.family
    arrays = shown.arrays(attribution)
    several = request.several_targets
    tensors = {} if attributed is None else _tensors(request, attributed)
    tensors |= _group_tensors(request, groups) | {array.name: array.tensor(several) for array in arrays}
    each_target: Sequence[GroupValues | None] = groups or [None] * len(attribution.targets if attribution else (0,))
    regions = None if attributed is None else _kept(attributed)
    kept_regions = [one.regions for one in regions] if regions else [[] for _ in each_target]
    info = Info(
        model=model,
        warnings=tuple(warnings),
        input=shown.info(),
        integral=None if attributed is None else attributed.told,
        groups=None if family is None else group_infos(family, groups),
        verified=None if attributed is None else _verified(attributed),
        kept=regions,
        several_targets=several,
    )
    title = "" if attributed is None else attributed.told.targets[0].title
    figures = {array.name: array.tensor(several).tolist() for array in arrays if not array.large}
    strings = dict(shown.strings())
    return Contents(
        model=model,
        info=info.to_json() | figures | strings,
        tensors=tensors,
        strings=strings,
        tensors_in_json=request.fields is not None,
        draw=None if draw is None else lambda: draw(attribution, each_target[0], kept_regions[0], title),
        page=lambda: answer_page(
            info,
            attribution,
            shown.exhibit(attribution, kept_regions),
            family=family,
            groups=groups,
            command=command(served_as or model, request),
        ),
    )


def _tensors(request: Request, attributed: Attributed) -> dict[str, Tensor]:
    """Return the tensors of an attribution that are sent, and its figures."""
    attribution, integrand = attributed.attribution, attributed.integrand

    def of_targets(tensor: Tensor) -> Tensor:
        return tensor if request.several_targets else tensor[0]

    def gradients() -> Tensor:
        kept = attribution.gradients
        return torch.empty(0) if kept is None else of_targets(kept)

    def error_map() -> Tensor:
        errors = attribution.attribution_error_map
        if errors is None:
            return torch.empty(0)
        of_units = torch.stack([torch.linalg.vector_norm(integrand.by_unit(one), dim=-1) for one in errors])
        return of_targets(of_units.reshape(len(errors), 1, *integrand.unit_shape))

    def apart() -> Tensor:
        deviation = spread(attribution, integrand.unit_sums)
        if deviation is None:
            return torch.empty(0)
        return of_targets(torch.from_numpy(deviation).float().reshape(len(deviation), 1, *integrand.unit_shape))

    def points() -> Tensor:
        (path,) = attributed.paths
        return torch.stack([path.point(alpha).cpu() for alpha in attribution.alphas.tolist()])

    available: dict[str, Callable[[], Tensor]] = {
        request.integral: lambda: of_targets(attribution.integrated_gradients[:, None]),
        ERROR_MAP: error_map,
        SPREAD: apart,
        request.gradients: gradients,
        "step_sizes": lambda: torch.from_numpy(attribution.step_sizes).float()[:, None],
        "intermediates": points,
        "alphas": lambda: torch.from_numpy(attribution.alphas).float()[:, None],
        "output": lambda: attribution.output[None],
        "baseline_output": lambda: attribution.baseline_output.reshape(-1, len(attribution.output)),
    }
    figures = {
        "target_class": of_targets(torch.tensor(attribution.targets)),
        "convergence_delta": of_targets(torch.from_numpy(attribution.convergence_delta)),
        "local_error": of_targets(torch.from_numpy(attribution.local_error)),
        "attribution_error": of_targets(torch.from_numpy(attribution.attribution_error)),
        "converged": of_targets(torch.from_numpy(attribution.converged)),
        "evaluations": torch.tensor(attribution.evaluations),
    }
    sent = [name for name in request.sent_tensors() if name in available]
    return {name: available[name]().contiguous() for name in sent} | figures


def _verified(attributed: Attributed) -> tuple[Verified, ...] | None:
    return tuple(told(one) for one in attributed.verifications) or None


def _kept(attributed: Attributed) -> tuple[Kept, ...] | None:
    """Return the regions that keep a share of the output, for each target; None where no regions were asked for."""
    family, share = attributed.integrand.family, attributed.integrand.kept_share
    if family is None or share is None:
        return None
    each = zip(attributed.groups, attributed.verifications, strict=True)
    return tuple(kept(family, groups, one, share) for groups, one in each)


def values_of_groups(
    integrand: Integrand, paths: Sequence[StraightPath], attribution: Attribution
) -> list[GroupValues]:
    """Return what the groups that were asked for carry, for each target; nothing where none were."""
    family = integrand.family
    if family is None:
        return []
    step = np.stack([integrand.by_unit(path.step.cpu()).numpy() for path in paths])
    each = attribution.each or (attribution,)

    groups = len(family.kinds)

    def of_sums(combine: Combine) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        # The groups' sums follow the units', where these were kept.
        return lambda sums: combine(sums[:, :-groups], sums[:, -groups:])

    def values(t: int) -> GroupValues:
        own = np.stack([integrand.by_unit(one.integrated_gradients[t]).double().numpy() for one in each])
        return group_values(
            own,
            step,
            family.members,
            family.units,
            errors=lambda combine: attribution.errors.of_own_sums(t, map(of_sums, combine)),
            unit_errors=attribution.errors.count > groups,
        )

    return [values(t) for t in range(len(attribution.targets))]


def _group_tensors(request: Request, groups: Sequence[GroupValues]) -> dict[str, Tensor]:
    """Return the arrays of what groups carry; (T, G), or (G,) for a single target."""
    tensors = {}
    for name in GROUP_FIGURES if groups else ():
        values = torch.from_numpy(np.stack([getattr(of_target, name) for of_target in groups]))
        tensors[f"group_{name}"] = values if request.several_targets else values[0]
    return tensors
