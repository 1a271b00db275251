"""Answers as pages for people: one HTML file without scripts or outside resources, everything from a caller escaped.

What the page shows of the attribution is its sign and size: words in blue moved the output up, words in red moved it
down, by as much as the colour is deep; a picture's heat map is the png's.
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

_STYLE = """
body { font: 16px/1.6 sans-serif; color: #111; background: #fff; max-width: 60em; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.3em } h2 { font-size: 1.1em; margin-top: 2em }
.text { font-size: 1.25em; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere }
.tokens { font: 13px/2.2 monospace; overflow-wrap: anywhere }
.key { font-size: 13px }
.text span, .tokens span, .key span { border-radius: 3px; padding: 2px 1px }
.tokens span, .key span { margin-right: 5px; padding: 2px 3px; border: 1px solid #ddd }
.phrases { font-size: 1.1em; line-height: 1.6; white-space: pre-wrap; overflow-wrap: anywhere }
.phrases span { display: inline-block; border: 1px solid #555; border-radius: 4px; padding: 2px 5px; margin: 1px }
.cut { color: #999 }
table { margin-top: 1em } .groups td, .groups th { padding: 1px 1em 1px 0 }
.groups th:nth-child(n+3) { text-align: right } .number { text-align: right; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: normal; color: #555; padding-right: 2em; vertical-align: top }
.note { color: #7a4b00 }
figure { display: inline-block; margin: 0 1em 1em 0 } img { max-width: 100% }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


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


def page(model: str, answers: Sequence[str]) -> str:
    """Return the page of one answer or several."""
    body = "\n<hr>\n".join(answers)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(model)}: attributions</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(model)}</h1>\n{body}\n</body></html>\n"
    )
