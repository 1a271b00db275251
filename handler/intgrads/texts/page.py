"""A text on a page: its words with their scores, its tokens, and its groups drawn as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intgrads.answers.colours import largest_of
from intgrads.answers.page import signed, spread_sentence
from intgrads.answers.verified import LISTED_BESIDE
from intgrads.integral.groups import GroupFamily
from intgrads.pages.exhibit import Exhibit
from intgrads.texts.scores import Scores
from intgrads.texts.sentences import Sentence

LONG = 900
"""Characters from which on a text is folded."""

LETTER, GAP, STOREY = 8, 14, 44
"""Pixels of a tree: of a letter's width, between two words, and from one storey to the next."""

LEAST_WIDTH = 42
"""Pixels of a word at least: the phrases above it take as much."""


def text_exhibit(sentence: Sentence, scores: Scores | None, family: GroupFamily | None) -> Exhibit:
    """Return what a page shows of a text.

    Parameters
    ----------
    sentence : Sentence
    scores : Scores or None
        None where nothing was attributed.
    family : GroupFamily or None
        The groups that were asked for.
    """
    words = sentence.words
    told = [] if scores is None else [_told(sentence, scores, t) for t in range(len(scores.of_tokens))]
    shown = {
        "pieces": _pieces(sentence),
        "tokens": sentence.tokens,
        "targets": told,
        "long": len(sentence.text) > LONG,
        "tree": None if family is None else _tree(sentence, family),
        "special": [
            token for token, spoken in zip(sentence.tokens, sentence.spoken.tolist(), strict=True) if not spoken
        ],
    }
    data: dict[str, Any] = {
        "kind": "text",
        "tokens": sentence.tokens,
        "words": words.texts,
        "spans": words.spans.tolist(),
        "scores": [] if scores is None else scores.to_json(),
        "groups_spans": [] if family is None else family.places.tolist(),
    }
    return Exhibit("text.html", shown, data)


def _pieces(sentence: Sentence) -> list[tuple[str, str, int]]:
    """Return the text cut into its words and what lies between them: kind, text and the word's place, or -1."""
    pieces, place = [], 0
    for k, (start, end) in enumerate(sentence.words.offsets.tolist()):
        pieces += [("gap", sentence.text[place:start], -1), ("word", sentence.text[start:end], k)]
        place = end
    pieces.append(("cut", sentence.text[place:], -1))
    return [piece for piece in pieces if piece[1]]


def _told(sentence: Sentence, scores: Scores, target: int) -> dict[str, Any]:
    """Return in numbers and words how the score of one of the targets is made up."""
    of_words, of_tokens = scores.of_words[target], scores.of_tokens[target]
    special = of_tokens[~sentence.spoken]
    largest, of_special = largest_of(of_words), largest_of(special)
    told = {
        "raised": signed(of_words[of_words > 0].sum()),
        "lowered": signed(of_words[of_words < 0].sum()),
        "special": signed(special.sum()) if len(special) else None,
        "warning": None,
        "spread": None,
    }
    if of_special > largest:
        place = int(np.flatnonzero(~sentence.spoken)[np.abs(special).argmax()])
        told["warning"] = (
            f"The special token {sentence.tokens[place]} holds {signed(of_tokens[place])}, more than any word does "
            f"({largest:.3g} at most). The colours of words do not show it."
        )
    if scores.spread_of_words is not None:
        told["spread"] = spread_sentence("scores", "word", scores.spread_of_words[target], of_words)
    return told


def _tree(sentence: Sentence, family: GroupFamily) -> dict[str, Any] | None:
    """Return groups as a tree of SVG: over the words their groups, each over all that lie within it.

    None where no group lies within another.
    """
    listed = [k for k, kind in enumerate(family.kinds) if kind not in LISTED_BESIDE]
    spans = {k: (int(family.places[k][0]), int(family.places[k][1])) for k in listed}
    order = sorted(listed, key=lambda k: (spans[k][1] - spans[k][0], -k))
    storeys: dict[int, int] = {}
    parents: dict[int, int] = {}
    for place, k in enumerate(order):
        inside = [other for other in order[:place] if _within(spans[other], spans[k])]
        storeys[k] = 1 + max((storeys[other] for other in inside), default=0)
        for other in inside:
            parents.setdefault(other, k)
    if not parents:
        return None
    spoken = np.flatnonzero(sentence.spoken).tolist()
    texts = {k: sentence.text[sentence.offsets[k, 0] : sentence.offsets[k, 1]] for k in spoken}
    left, lefts = GAP, {}
    for k in spoken:
        width = max(LEAST_WIDTH, LETTER * len(texts[k]))
        lefts[k] = (left, left + width)
        left += width + GAP
    highest = max(storeys.values())
    at = {k: _middle([lefts[j] for j in range(*spans[k]) if j in lefts]) for k in listed}
    heights = {k: STOREY * (highest - storeys[k]) + 20 for k in listed}
    floor = STOREY * highest + 20
    over: dict[int, int] = {}
    for k in order:
        for j in range(*spans[k]):
            over.setdefault(j, k)
    edges = [(at[k], heights[k], at[parent], heights[parent]) for k, parent in parents.items()]
    edges += [(_middle([lefts[j]]), floor, at[k], heights[k]) for j, k in over.items() if j in lefts]
    return {
        "width": left,
        "height": floor + 30,
        "edges": edges,
        "nodes": [
            {"group": k, "x": at[k], "y": heights[k], "name": _category(family, k), "label": family.labels[k]}
            for k in listed
        ],
        "leaves": [{"group": k, "x": _middle([lefts[k]]), "y": floor, "text": texts[k]} for k in spoken],
    }


def _within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _middle(spans: Sequence[tuple[float, float]]) -> float:
    return round((spans[0][0] + spans[-1][1]) / 2, 1)


def _category(family: GroupFamily, group: int) -> str:
    """Return a phrase's category, such as NP; of other groups nothing that would fit."""
    if family.kinds[group] != "phrase":
        return "•"
    first, space, _ = family.labels[group].partition(" ")
    return first[:6] if space else "•"
