"""An answer in HTML, for people: its figures and warnings around what its kind of input shows.

Everything from a caller is escaped. What is shown of an attribution is its sign and size: words in blue moved the
output up, words in red moved it down, by as much as the colour is deep; a picture's heat map is the png's.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from intgrads.answers.colours import ranking
from intgrads.answers.info import Info, Integral
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.outputs import LIKELY

MOST_ROWS = 60
"""Groups that a page lists."""


def groups_section(family: GroupFamily, groups: GroupValues) -> str:
    """Return the groups as a table, the largest value first."""
    rows = []
    for k in ranking(groups, len(family.kinds))[:MOST_ROWS]:
        cells = (family.kinds[k], family.labels[k], str(int(family.members[k].sum())))
        rows.append(
            "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + f'<td class="number">{groups.values[k]:.4f}</td><td class="number">{groups.dividends[k]:.2g}</td>'
            + f'<td class="number">{groups.idg[k]:+.3g}</td>'
            + f'<td class="number">{groups.integrated_gradients[k]:+.3g}</td>'
        )
    names = ("group", "", "size", "value", "dividend", "IDG", "sum of IG")
    head = "".join(f"<th>{name}</th>" for name in names)
    left = len(family.kinds) - len(rows)
    more = f"<p>and {left} more, of smaller values</p>" if left > 0 else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="groups"><tr>{head}</tr>{body}</table>{more}\n'


def answer_section(info: Info, sections: Sequence[str]) -> str:
    """Return what an answer tells, and the section of each of its targets; of one where nothing was attributed."""
    notes = "".join(f'<li class="note">{escape(warning)}</li>' for warning in info.warnings)
    notes = f"<ul>{notes}</ul>" if notes else ""
    integral = info.integral
    if integral is None:
        return "\n".join([*sections, notes])
    parts = [
        _table([_predicted(integral), ("baseline", integral.baseline), ("evaluations", str(integral.evaluations))])
    ]
    for section, target in zip(sections, integral.targets, strict=True):
        output = target.output
        parts.append(f"<h2>{escape(output.label)}</h2>\n{section}")
        parts.append(
            _table([
                ("output", f"{output.logit:.4g}") if output.probability is None
                else ("probability", f"{output.probability:.3f}"),
                ("f(x) − f(x′)", f"{target.difference:.4g}"),
                ("convergence delta", f"{target.convergence_delta:+.2g}"),
                ("local error", f"{target.local_error:.2g}"),
            ])
        )  # fmt: skip
    return "\n".join([*parts, notes])


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
