"""A text in HTML: its words in the colours of their scores, and its groups as nested boxes."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from intgrads.answers.colours import css_colour, largest_of
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.texts.sentences import Sentence


def text_section(
    sentence: Sentence,
    scores: NDArray[np.float64],
    token_errors: NDArray[np.float64] | None = None,
    word_errors: NDArray[np.float64] | None = None,
) -> str:
    """Return a text with its words coloured, and its tokens below.

    Parameters
    ----------
    sentence : Sentence
    scores : ndarray, (L,)
        By token.
    token_errors : ndarray, (L,), optional
        Of the scores.
    word_errors : ndarray, (W,), optional
        Of the sums over words.
    """
    words = sentence.words
    of_tokens = np.zeros(len(scores)) if token_errors is None else token_errors
    of_words = np.zeros(len(words.texts)) if word_errors is None else word_errors
    sums = words.sums(scores)
    largest = largest_of(sums)
    parts, place = [], 0
    for (start, end), score, error in zip(words.offsets.tolist(), sums.tolist(), of_words.tolist(), strict=True):
        parts += [escape(sentence.text[place:start]), _span(sentence.text[start:end], score, largest, error)]
        place = end
    parts.append(f'<span class="cut">{escape(sentence.text[place:])}</span>')
    largest = largest_of(scores)
    told = zip(sentence.tokens, scores.tolist(), of_tokens.tolist(), strict=True)
    tokens = [_span(token, score, largest, error) for token, score, error in told]
    return f'<p class="text">{"".join(parts)}</p>\n<p class="tokens">{" ".join(tokens)}</p>\n{_legend()}'


def spread_section(sentence: Sentence, apart: NDArray[np.float64], scores: NDArray[np.float64]) -> str:
    """Return a text with its words shaded by how far several baselines are apart in their scores.

    Parameters
    ----------
    sentence : Sentence
    apart, scores : ndarray, (W,)
        Standard deviation over the baselines, and the mean over them, by word: the shade of one is as deep as a score
        of its size would be.
    """
    largest = largest_of(scores) or largest_of(apart) or 1.0
    parts, place = [], 0
    for (start, end), one in zip(sentence.words.offsets.tolist(), apart.tolist(), strict=True):
        shade = f"background:rgba(214,120,0,{0.6 * min(one / largest, 1.0):.2f})"
        word = f'<span style="{shade}" title="{one:.4g}">{escape(sentence.text[start:end])}</span>'
        parts += [escape(sentence.text[place:start]), word]
        place = end
    return f'<p class="text">{"".join(parts)}</p>\n<p class="key">how far the baselines are apart</p>\n'


def _legend() -> str:
    steps = (("lowers it", -1.0), ("leaves it", 0.0), ("raises it", 1.0))
    key = " ".join(_span(text, score, 1.0) for text, score in steps)
    return (
        f'<p class="key">the score of the class above: {key}; the line below is as long as the error of the score</p>'
    )


def phrases_section(sentence: Sentence, family: GroupFamily, groups: GroupValues) -> str:
    """Return a text with its groups as nested boxes, coloured by sign and value.

    A group that crosses another, neither within the other, has no place in the nesting and is in the table alone.
    """
    shown = [k for k, kind in enumerate(family.kinds) if kind not in ("token", "text")]
    spans = [(*_characters(sentence, family.places[k]), k) for k in shown]
    strength = np.sign(groups.idg) * groups.values
    largest = largest_of(strength[shown])
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
        title = (
            f"{family.labels[k]}: value {groups.values[k]:.4f} ± {groups.values_error[k]:.2g}, "
            f"IDG {groups.idg[k]:+.3g} ± {groups.idg_error[k]:.2g}"
        )
        parts.append(f'<span style="background:{css_colour(strength[k], largest)}" title="{escape(title)}">')
        ends.append(end)
    while ends:
        parts += [escape(sentence.text[place : ends[-1]]), "</span>"]
        place = ends.pop()
    parts.append(escape(sentence.text[place:]))
    return f'<p class="phrases">{"".join(parts)}</p>\n'


def _span(text: str, score: float, largest: float, error: float = 0.0) -> str:
    """Return a text in the colour of its score, with the score's error as a whisker below it."""
    title, style = f"{score:+.4g}", f"background:{css_colour(score, largest)}"
    if error > 0:
        title += f" ± {error:.2g}"
        style += f";--error:{100 * min(error / largest if largest > 0 else 1.0, 1.0):.0f}%"
    return f'<span style="{style}" title="{title}">{escape(text)}</span>'


def _characters(sentence: Sentence, tokens: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first character of a run of tokens, and the one after its last."""
    own = sentence.offsets[tokens[0] : tokens[1]]
    own = own[own[:, 0] < own[:, 1]]
    return int(own[:, 0].min()), int(own[:, 1].max())
