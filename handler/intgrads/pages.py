"""Answers as pages for people: one HTML file without scripts or outside resources, everything from a caller escaped.

What the page shows of the attribution is its sign and size: words in blue moved the output up, words in red moved it
down, by as much as the colour is deep; a picture's heat map is the png's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intgrads.group_rendering import ranking, signed_colour
from intgrads.integral.groups import Family, GroupValues
from intgrads.outputs import LIKELY
from intgrads.rendering import to_png
from intgrads.segmentation.instances import Instances
from intgrads.sentences import Sentence

LONGEST_SIDE = 640
"""Pixels of a picture's longer side on the page."""

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


def colour(score: float, largest: float) -> str:
    """Return the CSS colour of a score, given the largest absolute one."""
    share = score / largest if largest > 0 else 0.0
    red, green, blue = signed_colour(float(np.clip(share, -1, 1)))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _largest(scores: NDArray[np.float64]) -> float:
    return float(np.abs(scores).max(initial=0.0))


def _span(text: str, score: float, largest: float) -> str:
    return f'<span style="background:{colour(score, largest)}" title="{score:+.4g}">{escape(text)}</span>'


def text_section(sentence: Sentence, scores: NDArray[np.float64]) -> str:
    """Return a text with its words coloured, and its tokens below.

    Parameters
    ----------
    sentence : Sentence
    scores : ndarray, (L,)
        By token.
    """
    words = sentence.words
    sums = words.sums(scores)
    largest = _largest(sums)
    parts, place = [], 0
    for word, (start, end), score in zip(words.texts, words.offsets.tolist(), sums.tolist(), strict=True):
        parts += [escape(sentence.text[place:start]), _span(word, score, largest)]
        place = end
    parts.append(f'<span class="cut">{escape(sentence.text[place:])}</span>')
    largest = _largest(scores)
    tokens = [_span(token, score, largest) for token, score in zip(sentence.tokens, scores.tolist(), strict=True)]
    return f'<p class="text">{"".join(parts)}</p>\n<p class="tokens">{" ".join(tokens)}</p>\n{_legend()}'


def _legend() -> str:
    steps = (("lowers it", -1.0), ("leaves it", 0.0), ("raises it", 1.0))
    key = " ".join(_span(text, score, 1.0) for text, score in steps)
    return f'<p class="key">the score of the class above: {key}</p>'


def picture_section(shown: Sequence[tuple[NDArray[np.uint8], str]]) -> str:
    """Return pictures side by side, each as it was drawn, (H, W, 3), with what it shows."""
    return "\n".join(
        f'<figure><img alt="{title}" src="data:image/png;base64,{base64.b64encode(_small(drawn)).decode()}">'
        f"<figcaption>{title}</figcaption></figure>"
        for drawn, title in shown
    )


def _small(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return to_png(np.asarray(image))


def instances_section(found: Instances) -> str:
    """Return the objects of a picture as a table, likeliest first."""
    if not len(found):
        return f"<p>no object was found with a probability over {found.score_threshold:g}</p>\n"
    rows = []
    for k, one in enumerate(found.listed(with_masks=False)):
        box = ", ".join(f"{side:.0f}" for side in one["box"])
        cells = f"<td>{k}</td><td>{escape(one['label'])}</td>"
        cells += "".join(f'<td class="number">{cell}</td>' for cell in (f"{one['score']:.3f}", box, one["size"]))
        rows.append(f"<tr>{cells}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", "object", "probability", "box", "pixels"))
    return f'<table class="groups"><tr>{head}</tr>{"".join(rows)}</table>\n'


def groups_section(family: Family, groups: GroupValues) -> str:
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


def phrases_section(sentence: Sentence, family: Family, groups: GroupValues) -> str:
    """Return a text with its groups as nested boxes, coloured by sign and value.

    A group that crosses another, neither within the other, has no place in the nesting and is in the table alone.
    """
    shown = [k for k, kind in enumerate(family.kinds) if kind not in ("token", "text")]
    spans = [(*_characters(sentence, family.places[k]), k) for k in shown]
    strength = np.sign(groups.idg) * groups.values
    largest = _largest(strength[shown])
    parts: list[str] = []
    ends: list[int] = []
    place = 0
    for start, end, k in sorted(spans, key=lambda span: (span[0], -span[1], span[2])):
        while ends and ends[-1] <= start:
            parts += [escape(sentence.text[place : ends[-1]]), "</span>"]
            place = ends.pop()
        if ends and end > ends[-1]:
            continue
        parts.append(escape(sentence.text[place:start]))
        place = start
        title = f"{family.labels[k]}: value {groups.values[k]:.4f}, IDG {groups.idg[k]:+.3g}"
        parts.append(f'<span style="background:{colour(strength[k], largest)}" title="{escape(title)}">')
        ends.append(end)
    while ends:
        parts += [escape(sentence.text[place : ends[-1]]), "</span>"]
        place = ends.pop()
    parts.append(escape(sentence.text[place:]))
    return f'<p class="phrases">{"".join(parts)}</p>\n'


def _characters(sentence: Sentence, tokens: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first character of a run of tokens, and the one after its last."""
    own = sentence.offsets[tokens[0] : tokens[1]]
    own = own[own[:, 0] < own[:, 1]]
    return int(own[:, 0].min()), int(own[:, 1].max())


def answer_section(info: Mapping[str, Any], sections: Sequence[str]) -> str:
    """Return what an answer tells, and the section of each of its targets.

    Parameters
    ----------
    info : mapping
        The figures of an answer; with lists for the targets, or single values; without, where nothing was attributed.
    sections : sequence of str
    """
    notes = "".join(f'<li class="note">{escape(warning)}</li>' for warning in info["warnings"])
    notes = f"<ul>{notes}</ul>" if notes else ""
    if "prediction" not in info:
        return "\n".join([*sections, notes])
    rows = [_predicted(info)]
    rows += [("baseline", str(info["baseline"])), ("evaluations", str(info["evaluations"]))]
    parts = [_table(rows)]
    names = ("target_label", "target_output", "target_score", "difference", "convergence_delta", "local_error")
    columns = [info[name] if isinstance(info[name], list) else [info[name]] for name in names]
    for section, label, output, score, difference, delta, error in zip(sections, *columns, strict=True):
        parts.append(f"<h2>{escape(label)}</h2>\n{section}")
        parts.append(
            _table([
                ("output", f"{output:.4g}") if score is None else ("probability", f"{score:.3f}"),
                ("f(x) − f(x′)", f"{difference:.4g}"),
                ("convergence delta", f"{delta:+.2g}"),
                ("local error", f"{error:.2g}"),
            ])
        )  # fmt: skip
    return "\n".join([*parts, notes])


def _predicted(info: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the network says of an input: its class, its labels, or its numbers."""
    if info["outputs"] == "none":
        return "outputs", ", ".join(f"{one['label']} {one['logit']:.4g}" for one in info["top"])
    if info["outputs"] == "softmax":
        return "prediction", f"{info['prediction']['label']}, probability {info['prediction']['probability']:.3f}"
    shares = {one["label"]: one["probability"] for one in info["top"]}
    given = [f"{label} {shares[label]:.3f}" if label in shares else label for label in info["predicted_labels"]]
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
