"""An answer as a page tells it: its figures in words and tables, its groups, its path, and how to ask for it again.

What kind of input it is about is behind :class:`intgrads.pages.exhibit.Exhibit`. The files in pages/templates/ write
what is returned here, and pages/page.js draws the part of it that is called ``data``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intgrads.answers.colours import ladder
from intgrads.answers.info import Info, Integral, Target
from intgrads.answers.verified import LISTED_BESIDE, Kept, Verified, finite
from intgrads.integral.attribution import Attribution
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.integral.profile import Profile
from intgrads.outputs import LIKELY
from intgrads.pages.exhibit import Exhibit
from intgrads.pages.packed import packed_frames
from intgrads.request import Request

FRAME_BYTES, FEWEST_FRAMES, MOST_FRAMES = 200_000, 8, 64
"""Room for what a page shows of the nodes of a path, and how many of them it shows."""

FILES = {"img_data": "picture.jpg", "sequence": "text.txt"}
"""How a command line calls the file of an input, by the field that takes it."""

LONGEST_OPTION = 200
"""Characters of an option that a command line spells out; what is longer goes into a file."""


def answer_page(
    info: Info,
    attribution: Attribution | None,
    exhibit: Exhibit,
    *,
    family: GroupFamily | None,
    groups: Sequence[GroupValues],
    command: str,
) -> dict[str, Any]:
    """Return what ``templates/answer.html`` writes of an answer.

    Parameters
    ----------
    info : Info
    attribution : Attribution or None
        None where nothing was attributed.
    exhibit : Exhibit
        The input and its attribution.
    family : GroupFamily or None
    groups : sequence of GroupValues
        What its groups carry, for each target.
    command : str
        What asks for the same again; see :func:`command`.
    """
    integral = info.integral
    data = {
        **exhibit.data,
        "titles": [] if integral is None else [target.title for target in integral.targets],
        "colours": ladder(),
        "groups": None if family is None else _groups(family, groups, attribution),
        "path": None if attribution is None else _path(attribution),
        "info": info.to_json(),
    }
    return {
        "kind": exhibit.template,
        "shown": exhibit.shown,
        "headline": "" if integral is None else _headline(integral),
        "facts": [] if integral is None else _facts(integral),
        "warnings": info.warnings,
        "targets": []
        if integral is None
        else [_target(info, integral, place) for place in range(len(integral.targets))],
        "has_groups": family is not None,
        "has_path": data["path"] is not None,
        "unit": "token" if exhibit.template == "text.html" else "pixel",
        "command": command,
        "data": data,
    }


def _headline(integral: Integral) -> str:
    """Return in a sentence what was asked and what the network says."""
    name, said = _predicted(integral)
    targets = " and ".join(f"“{target.title}”" for target in integral.targets[:3])
    more = f" and {len(integral.targets) - 3} others" if len(integral.targets) > 3 else ""
    return f"The network’s {name}: {said}. Shown is what moved its output for {targets}{more}."


def _facts(integral: Integral) -> list[tuple[str, str]]:
    asked = integral.baseline if isinstance(integral.baseline, str) else ", ".join(integral.baseline)
    rule = integral.method if integral.tolerance is None else f"refined to a tolerance of {integral.tolerance:g}"
    top = [f"{one.label} {one.logit if one.probability is None else one.probability:.3g}" for one in integral.top]
    return [
        ("largest outputs" if integral.top[0].probability is None else "most probable", "; ".join(top)),
        ("baseline x′", asked),
        ("nodes", f"{integral.n_steps}, {rule}"),
        ("evaluations of the network", str(integral.evaluations)),
    ]


def _target(info: Info, integral: Integral, place: int) -> dict[str, Any]:
    """Return what is told of one of the targets."""
    target = integral.targets[place]
    plain = integral.attributed == "logit" and integral.against is None
    output = target.output
    rows = [
        ("output", f"{output.logit:.4g}")
        if output.probability is None
        else ("probability", f"{output.probability:.3f}"),
        *([] if plain else [("f(x)", f"{target.value:.4g}"), ("f(x′)", f"{target.baseline_value:.4g}")]),
        ("f(x) − f(x′)", f"{target.difference:.4g}"),
        ("convergence delta", f"{target.convergence_delta:+.2g}"),
        ("local error", f"{target.local_error:.2g}"),
        ("error of the map", f"{100 * target.attribution_error:.2g} %"),
    ]
    return {
        "title": target.title,
        "rows": rows,
        "converged": target.converged,
        "baselines": _baselines(integral, place),
        "kept": None if info.kept is None else _kept(info.kept[place], target),
        "verification": None if info.verified is None else _verification(info.verified[place]),
    }


def _baselines(integral: Integral, target: int) -> list[tuple[str, ...]]:
    """Return the single baselines as rows, what each gives one of the targets; nothing where there is one."""
    return [
        (
            one.baseline if one.seed is None else f"{one.baseline}, seed {one.seed}",
            f"{one.baseline_value[target]:.4g}",
            f"{one.difference[target]:.4g}",
            f"{one.convergence_delta[target]:+.2g}",
            f"{100 * one.attribution_error[target]:.2g} %",
        )
        for one in integral.baselines or ()
    ]


def signed(number: float) -> str:
    """Return a number with its sign, a true minus where it is below 0."""
    return f"{number:+.4g}".replace("-", "−")


def spread_sentence(what: str, unit: str, apart: NDArray[np.float64], mean: NDArray[np.float64]) -> str:
    """Return in words how much of a map, or of scores, depends on the baseline.

    Parameters
    ----------
    what, unit : str
        What is shown, and of what it is made.
    apart, mean : ndarray
        Standard deviation over the baselines, and the mean over them, of each unit.
    """
    size = float(np.linalg.norm(mean))
    part = f"{100 * float(np.linalg.norm(apart)) / size:.0f} % of the {what}" if size > 0 else "all that there is"
    return (
        f"Shown is the mean over the baselines below. How far they are apart, their standard deviation for each "
        f"{unit}, is {part} in all. Where that is as strong as the mean itself, the answer depends on the baseline; "
        f"where it is weak, all of the baselines say the same."
    )


def _kept(kept: Kept, target: Target) -> str:
    """Return in words which regions are enough."""
    count = len(kept.regions)
    return (
        f"The framed part, {100 * kept.area:.2g} % of the picture in {count} region{'s' if count != 1 else ''}, "
        f"keeps {100 * kept.share:.3g} % of f(x) − f(x′): with it alone the output is {kept.value_of_these:.4g}, with "
        f"all but it {kept.value_without:.4g}. With the whole picture it is {target.value:.4g}, with none of it "
        f"{target.baseline_value:.4g}."
    )


def _verification(verified: Verified) -> dict[str, Any]:
    """Return the curves of deletion and insertion as points of a drawing, and what they say."""
    if verified.deletion_area is None or verified.insertion_area is None:
        return {"state": "equal"}
    start, end = verified.insertion[0], verified.deletion[0]

    def points(curve: Sequence[float]) -> str:
        heights = np.clip((np.array(curve) - start) / (end - start), -0.2, 1.2)
        return " ".join(
            f"{40 + 240 * area:.1f},{130 - 100 * height:.1f}"
            for area, height in zip(verified.areas, heights.tolist(), strict=True)
        )

    def by_chance(areas: Sequence[float | None]) -> str:
        known = [one for one in areas if one is not None]
        return f"{min(known):.2f} to {max(known):.2f}"

    told = {
        "state": "alone",
        "deletion": points(verified.deletion),
        "insertion": points(verified.insertion),
    }
    if not verified.deletion_area_by_chance:
        return told
    return told | {
        "state": "better than" if verified.better_than_chance else "no better than",
        "passes": verified.passes,
        "deletion_area": f"{verified.deletion_area:.2f}",
        "deletion_by_chance": by_chance(verified.deletion_area_by_chance),
        "insertion_area": f"{verified.insertion_area:.2f}",
        "insertion_by_chance": by_chance(verified.insertion_area_by_chance),
    }


def _predicted(integral: Integral) -> tuple[str, str]:
    """Return what the network says of an input: its class, its labels, or its numbers."""
    shares = {one.label: one.probability for one in integral.top if one.probability is not None}
    if not shares:
        return "outputs", ", ".join(f"{one.label} {one.logit:.4g}" for one in integral.top)
    if integral.outputs == "softmax":
        (label,) = integral.predicted_labels
        return "prediction", f"{label}, probability {shares[label]:.3f}"
    given = [f"{label} {shares[label]:.3f}" if label in shares else label for label in integral.predicted_labels]
    return f"labels of a probability of {LIKELY} or more", ", ".join(given) or "none"


def _groups(family: GroupFamily, groups: Sequence[GroupValues], attribution: Attribution | None) -> dict[str, Any]:
    """Return what groups carry, as it can be drawn: of a tree its leaves, since those of one size compare."""
    listed = list(range(len(family.kinds))) if family.parents is None else list(family.leaves)
    sizes = family.members.sum(1)
    differences = [] if attribution is None else np.abs(attribution.difference).tolist()
    figures = [
        _figures(of_target.of(listed), sizes[listed] / family.members.shape[1], difference)
        for of_target, difference in zip(groups, differences, strict=True)
    ]
    whole = [place for place, k in enumerate(listed) if family.kinds[k] in ("text", "picture")]
    return {
        "indices": listed,
        "kinds": [family.kinds[k] for k in listed],
        "labels": [family.labels[k] for k in listed],
        "sizes": sizes[listed].tolist(),
        "single": [family.kinds[k] in LISTED_BESIDE for k in listed],
        "whole": whole[0] if whole else None,
        "figures": figures,
    }


def _figures(values: GroupValues, areas: NDArray[np.float64], difference: float) -> dict[str, Any]:
    """Return each quantity of groups, with its error: [quantity]["of" or "error"][group]."""
    share = values.integrated_gradients, values.integrated_gradients_error
    scale = difference or 1.0
    told = {
        "share": (share[0] / scale, share[1] / scale),
        "density": (share[0] / scale / areas, share[1] / scale / areas),
        "value": (values.values, values.values_error),
        "dividend": (values.dividends, values.dividends_error),
        "idg": (values.idg, values.idg_error),
    }
    return {
        name: {"of": of.tolist(), "error": [finite(one) for one in error.tolist()]}
        for name, (of, error) in told.items()
    }


def _path(attribution: Attribution) -> dict[str, Any] | None:
    """Return what a page shows of a path: of several the first one."""
    one = attribution.each[0] if attribution.each else attribution
    if one.profile is None:
        return None
    along = one.profile.along
    targets, room = len(along), FRAME_BYTES // max(1, along[:, 0].size)
    shown: Profile = one.profile.thinned(int(np.clip(room, FEWEST_FRAMES, MOST_FRAMES)))
    frames = shown.along.reshape(targets, len(shown.alphas), -1)
    slopes = frames.sum(-1)
    return {
        "nodes": len(one.profile.alphas),
        "computed": one.profile.computed.tolist(),
        "values": [[finite(value) for value in of_target] for of_target in one.profile.values.tolist()],
        "alphas": shown.alphas.tolist(),
        "weights": shown.step_sizes.tolist(),
        "shape": list(along.shape[2:]),
        "frames": [packed_frames(of_target) for of_target in frames],
        "slopes": slopes.tolist(),
        "first_of": len(attribution.each),
        # Where the slider stands at first: where the most is added.
        "steepest": int(np.abs(slopes[0] * shown.step_sizes).argmax()),
    }


def command(served_as: str, request: Request) -> str:
    """Return a command line that asks an archive for the same again; what was sent as a file has to be given as one."""
    unused = "method" if request.tolerance else "max_evaluations"
    parts = [f"-F {quote('data=@' + FILES[request.input_field])}"]
    for name, value in request.model_dump(exclude_unset=True).items():
        if name in ("data", "image", "img_data", "sequence", "format", unused) or value is None:
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if isinstance(value, bytes) or len(text) > LONGEST_OPTION:
            parts.append(f"-F {quote(f'{name}=@{name}')}")
        else:
            parts.append(f"--form-string {quote(f'{name}={text}')}")
    return f"curl {' '.join(parts)} -F format=html -o page.html http://127.0.0.1:8080/predictions/{quote(served_as)}"
