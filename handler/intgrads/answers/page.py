"""An answer in HTML, for people: its figures and warnings around what its kind of input shows.

Everything from a caller is escaped. What is shown of an attribution is its sign and size: words in blue moved the
output up, words in red moved it down, by as much as the colour is deep; a picture's heat map is the png's.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from intgrads.answers.colours import ALIKE, ranking
from intgrads.answers.info import Info, Integral, Target
from intgrads.answers.verified import Kept, Verified
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.outputs import LIKELY

DELETION, INSERTION = "#a8480b", "#00629b"
"""Colours of curves, told apart by colour-blind eyes too."""

MOST_ROWS = 60
"""Groups that a page lists."""


def groups_section(family: GroupFamily, groups: GroupValues) -> str:
    """Return the groups as a table, the largest value first; of a tree its leaves, since values grow with area."""
    rows = []
    listed = np.arange(len(family.kinds)) if family.parents is None else np.array(family.leaves)
    order = listed[ranking(groups.of(listed.tolist()))].tolist()
    for rank, k in enumerate(order[:MOST_ROWS]):
        alike = rank > 0 and not groups.told_apart(order[rank - 1], k)
        cells = (ALIKE if alike else "", family.kinds[k], family.labels[k], str(int(family.members[k].sum())))
        rows.append(
            "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + f"<td>{_whisker(groups.values[k], groups.values_error[k])}</td>"
            + _number(f"{groups.values[k]:.4f}", groups.values_error[k])
            + _number(f"{groups.dividends[k]:.2g}", groups.dividends_error[k])
            + _number(f"{groups.idg[k]:+.3g}", groups.idg_error[k])
            + _number(f"{groups.integrated_gradients[k]:+.3g}", groups.integrated_gradients_error[k])
        )
    names = ("", "group", "", "size", "", "value", "dividend", "IDG", "sum of IG")
    head = "".join(f"<th>{name}</th>" for name in names)
    left = len(listed) - len(rows)
    more = f"<p>and {left} more, of smaller values</p>" if left > 0 else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    key = f'<p class="key">{ALIKE}: not to be told from the group above, by the errors of their values</p>'
    return f'<table class="groups"><tr>{head}</tr>{body}</table>{more}{key if ALIKE in body else ""}\n'


def _number(figure: str, error: float) -> str:
    return f'<td class="number">{figure}{f" ± {error:.2g}" if error > 0 else ""}</td>'


def _whisker(value: float, error: float) -> str:
    """Return a bar as long as a value, from 0 to 1, with its error as a whisker at its end."""
    width, low, high = (100 * float(np.clip(x, 0, 1.1)) for x in (value, value - error, value + error))
    lines = f'<path d="M{low:.1f} 7H{high:.1f}M{low:.1f} 3V11M{high:.1f} 3V11" stroke="#000" fill="none"/>'
    return (
        f'<svg class="whisker" viewBox="0 0 120 14"><rect y="3" width="{width:.1f}" height="8" fill="#9ab"/>'
        f"{lines if error > 0 else ''}</svg>"
    )


def answer_section(info: Info, sections: Sequence[str]) -> str:
    """Return what an answer tells, and the section of each of its targets; of one where nothing was attributed."""
    notes = "".join(f'<li class="note">{escape(warning)}</li>' for warning in info.warnings)
    notes = f"<ul>{notes}</ul>" if notes else ""
    integral = info.integral
    if integral is None:
        return "\n".join([*sections, notes])
    asked = integral.baseline if isinstance(integral.baseline, str) else ", ".join(integral.baseline)
    parts = [_table([_predicted(integral), ("baseline", asked), ("evaluations", str(integral.evaluations))])]
    plain = integral.attributed == "logit" and integral.against is None
    for place, (section, target) in enumerate(zip(sections, integral.targets, strict=True)):
        output = target.output
        parts.append(f"<h2>{escape(target.title)}</h2>\n{section}")
        parts.append(
            _table([
                ("output", f"{output.logit:.4g}") if output.probability is None
                else ("probability", f"{output.probability:.3f}"),
                *([] if plain else [("f(x)", f"{target.value:.4g}"), ("f(x′)", f"{target.baseline_value:.4g}")]),
                ("f(x) − f(x′)", f"{target.difference:.4g}"),
                ("convergence delta", f"{target.convergence_delta:+.2g}"),
                ("local error", f"{target.local_error:.2g}"),
                ("error of the map", f"{100 * target.attribution_error:.2g} %"),
            ])
        )  # fmt: skip
        parts.append(_baselines(integral, place))
        if info.kept is not None:
            parts.append(_kept(info.kept[place], target))
        if info.verified is not None:
            parts.append(_verification(info.verified[place]))
    return "\n".join([*parts, notes])


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
        f"<p>Shown is the mean over the baselines below. How far they are apart, their standard deviation for each "
        f"{unit}, is {part} in all. Where that is as strong as the mean itself, the answer depends on the baseline; "
        f"where it is weak, all of the baselines say the same.</p>"
    )


def _baselines(integral: Integral, target: int) -> str:
    """Return the single baselines as a table, what each gives one of the targets; nothing where there is one."""
    if integral.baselines is None:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("baseline", "", "f(x′)", "f(x) − f(x′)", "delta", "error"))
    rows = []
    for one in integral.baselines:
        names = "".join(
            f"<td>{escape(cell)}</td>" for cell in (one.baseline, "" if one.seed is None else f"seed {one.seed}")
        )
        figures = (
            f"{one.baseline_value[target]:.4g}",
            f"{one.difference[target]:.4g}",
            f"{one.convergence_delta[target]:+.2g}",
            f"{100 * one.attribution_error[target]:.2g} %",
        )
        numbers = "".join(f'<td class="number">{figure}</td>' for figure in figures)
        rows.append(f"<tr>{names}{numbers}</tr>")
    return f'<table class="groups"><tr>{head}</tr>{"".join(rows)}</table>'


def _kept(kept: Kept, target: Target) -> str:
    """Return in words which regions are enough."""
    count = len(kept.regions)
    return (
        f"<p>The framed part, {100 * kept.area:.2g} % of the picture in {count} region{'s' if count != 1 else ''}, "
        f"keeps {100 * kept.share:.3g} % of f(x) − f(x′): with it alone the output is {kept.value_of_these:.4g}, with "
        f"all but it {kept.value_without:.4g}. With the whole picture it is {target.value:.4g}, with none of it "
        f"{target.baseline_value:.4g}.</p>"
    )


def _verification(verified: Verified) -> str:
    """Return the curves of deletion and insertion, drawn over the area, and what they say in words."""
    if verified.deletion_area is None or verified.insertion_area is None:
        return "<p>Verification: f(x) and f(x′) are equal, so that no order of the parts can be told from another.</p>"
    start, end = verified.insertion[0], verified.deletion[0]
    lines = "".join(
        '<polyline fill="none" stroke-width="2" stroke="{}" points="{}"/>'.format(
            colour,
            " ".join(
                f"{40 + 240 * area:.1f},{130 - 100 * float(np.clip((value - start) / (end - start), -0.2, 1.2)):.1f}"
                for area, value in zip(verified.areas, curve, strict=True)
            ),
        )
        for colour, curve in ((DELETION, verified.deletion), (INSERTION, verified.insertion))
    )
    drawn = (
        '<svg class="curves" viewBox="0 0 300 165" role="img" aria-label="deletion and insertion">'
        '<path d="M40 30V130H280" stroke="#555" fill="none"/><text x="4" y="34">f(x)</text><text x="4" y="134">f(x′)'
        f'</text><text x="40" y="150">0</text><text x="120" y="150">part exchanged</text><text x="272" y="150">1</text>'
        f"{lines}</svg>"
    )
    if not verified.deletion_area_by_chance:
        return f"<div>{drawn}<p>Verification: there is one part alone, and so no other order of the parts.</p></div>"
    verdict = "better than" if verified.better_than_chance else "<strong>no better than</strong>"
    by_chance = (
        f"{min(one for one in areas if one is not None):.2f} to {max(one for one in areas if one is not None):.2f}"
        for areas in (verified.deletion_area_by_chance, verified.insertion_area_by_chance)
    )
    return (
        f"<div>{drawn}<p>Verification, by {verified.passes} passes of the network: the order of the parts is {verdict} "
        f'chance. <span style="color:{DELETION}">Deletion</span> takes the most important parts away first: the mean '
        f"output is {verified.deletion_area:.2f} (by chance {next(by_chance)}; low is good). "
        f'<span style="color:{INSERTION}">Insertion</span> adds them first: {verified.insertion_area:.2f} (by chance '
        f"{next(by_chance)}; high is good). 0 is f(x′) and 1 is f(x).</p></div>"
    )


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


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"
