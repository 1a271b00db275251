"""Groups of tokens: words, the caller's spans of characters, or the phrases of a constituency tree.

A tree is written in the brackets of the Penn Treebank (Marcus, Santorini, Marcinkiewicz 1993): ``(S (NP (DT The) (NN
plot)) (VP (VBZ is) (RB not) (JJ bad)))``. Its words must be those of the text, in order; each bracket is a group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intgrads.errors import RequestError

MOST_GROUPS = 2000
LONGEST_LABEL = 100

_ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}
"""How the treebank writes what would be read as its brackets and quotes."""

_BRACKETS = re.compile(r"\(|\)|[^\s()]+")


@dataclass(frozen=True)
class CharacterSpan:
    """A run of characters that is a group.

    Attributes
    ----------
    kind, label : str
    start, end : int
        First character, and the one after the last.
    """

    kind: str
    label: str
    start: int
    end: int


@dataclass(frozen=True)
class TextGroups:
    """Groups of a text's tokens, the whole text last.

    Attributes
    ----------
    kinds, labels : list of str, length G
        ``token``, ``word``, ``span``, ``phrase`` or ``text``; what each group reads, before it a phrase's category.
    spans : ndarray, (G, 2), int64
        First token of each, and the one after its last.
    notes : list of str
        What was left out, or widened to whole tokens.
    """

    kinds: list[str]
    labels: list[str]
    spans: NDArray[np.int64]
    notes: list[str]


def callers_spans(groups: Any, text: str) -> list[CharacterSpan]:
    """Read ``words``' alternatives: a list of ``[start, end]`` in characters, or a bracketed tree.

    Raises
    ------
    RequestError
        If it is neither, a span lies outside the text or is empty, or the tree does not fit the text.
    """
    if isinstance(groups, str) and groups.lstrip().startswith("("):
        return read_tree(groups, text)
    if not isinstance(groups, list) or not 1 <= len(groups) <= MOST_GROUPS:
        raise RequestError(
            f"must be words, a list of 1 to {MOST_GROUPS} spans [start, end] in characters, or a tree in brackets "
            "like (S (NP It) (VP works))" + (f", got {len(groups)}" if isinstance(groups, list) else ""),
            "groups",
        )
    spans = []
    for span in groups:
        pair = isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)
        if not pair or not 0 <= span[0] < span[1] <= len(text):
            raise RequestError(
                f"the span {str(span)[:40]} is no [start, end] with 0 ≤ start < end ≤ {len(text)}, characters of the "
                "text; the end is exclusive",
                "groups",
            )
        spans.append(CharacterSpan("span", _short(text[span[0] : span[1]]), span[0], span[1]))
    return spans


def read_tree(brackets: str, text: str) -> list[CharacterSpan]:
    """Read a constituency tree of a text; see the module.

    Returns
    -------
    list of CharacterSpan
        One for each bracket, in the order in which they open.

    Raises
    ------
    RequestError
        If the brackets do not match or its words are not the text's.
    """
    pieces = _BRACKETS.findall(brackets)
    found: list[CharacterSpan] = []
    open_brackets: list[tuple[int, str]] = []  # place in `found`, category
    starts: list[int] = []  # first character of each open bracket, or -1
    place = 0
    for k, piece in enumerate(pieces):
        if piece == "(":
            named = k + 1 < len(pieces) and pieces[k + 1] not in "()"
            if len(found) == MOST_GROUPS:
                raise RequestError(f"the tree has more than the {MOST_GROUPS} brackets that can be groups", "groups")
            open_brackets.append((len(found), pieces[k + 1] if named else ""))
            starts.append(-1)
            found.append(CharacterSpan("phrase", "", 0, 0))
        elif not open_brackets:
            raise RequestError(f"the tree goes on after its last bracket: {piece[:40]!r}", "groups")
        elif piece == ")":
            (own, category), start = open_brackets.pop(), starts.pop()
            if start < 0:
                raise RequestError(f"the bracket ({category[:40]}) of the tree holds no word", "groups")
            if starts and starts[-1] < 0:
                starts[-1] = start
            found[own] = CharacterSpan("phrase", _short(f"{category} {text[start:place]}".strip()), start, place)
        elif pieces[k - 1] != "(":
            start, place = _find(piece, text, place)
            if starts[-1] < 0:
                starts[-1] = start
    if open_brackets or not found:
        raise RequestError(f"the tree lacks {len(open_brackets)} closing brackets", "groups")
    rest = text[place:].strip()
    if rest:
        raise RequestError(f"the tree ends before the text does; it lacks {rest[:40]!r}", "groups")
    return found


def _short(label: str) -> str:
    """Return a label of :data:`LONGEST_LABEL` characters at most; its place says what it left out."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _find(word: str, text: str, place: int) -> tuple[int, int]:
    """Return where a word of the tree stands: next in the text, but for spaces."""
    while place < len(text) and text[place].isspace():
        place += 1
    for written in dict.fromkeys((word, _ESCAPED.get(word, word))):
        if text.startswith(written, place):
            return place, place + len(written)
    raise RequestError(
        f"the tree does not fit the text: its word {word[:40]!r} stands where the text has "
        f"{text[place : place + 40]!r} (character {place}); its words must be the text's, in order",
        "groups",
    )


def token_groups(spans: list[CharacterSpan], offsets: NDArray[np.int64], tokens: list[str]) -> TextGroups:
    """Turn runs of characters into runs of tokens, add the single tokens before them and the whole text after.

    Every token is a group, special ones too, so that the groups cover all of the input.

    Parameters
    ----------
    spans : list of CharacterSpan
    offsets : ndarray, (L, 2)
        Characters of each token; empty for special tokens, which are in their own group and in the whole text alone.
    tokens : list of str, length L

    Raises
    ------
    RequestError
        If none of the spans has a token: the text was cut before them.
    """
    spoken = np.flatnonzero(offsets[:, 0] < offsets[:, 1])
    starts, ends = offsets[spoken].T
    kinds, labels, runs = ["token"] * len(tokens), list(tokens), [(k, k + 1) for k in range(len(tokens))]
    lost, widened = 0, 0
    for span in spans:
        touched = spoken[(starts < span.end) & (ends > span.start)]
        if not len(touched):
            lost += 1
            continue
        first, last = int(touched[0]), int(touched[-1])
        widened += bool(offsets[first, 0] < span.start or offsets[last, 1] > span.end)
        kinds.append(span.kind)
        labels.append(span.label)
        runs.append((first, last + 1))
    if lost == len(spans):
        raise RequestError("no group has a token of the text: it was cut before them, or has none there", "groups")
    notes = []
    if lost:
        notes.append(f"groups left out, for having no token of the text (it was cut, or has none there): {lost}")
    if widened:
        notes.append(f"groups widened to whole tokens: {widened}")
    kinds.append("text")
    labels.append("the whole text")
    runs.append((0, len(offsets)))
    return TextGroups(kinds, labels, np.array(runs, np.int64), notes)
