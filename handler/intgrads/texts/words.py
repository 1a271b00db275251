"""Words: what a reader takes for one, which tokens make it up, and sums over them.

A tokeniser cuts words into pieces and some write several signs as one token, so that figures by token are hard to
read. Words here are those of Unicode's rules (Standard Annex 29), as the library ICU finds them, which knows the words
of Chinese, Japanese, Thai, Lao, Khmer and Burmese from dictionaries: "isn't" is one, "3.14" is one, an emoji is one
with all that joins it. A run of other signs ("...", "?!") is one as well, where the rules would have each by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from icu4py.breakers import WordBreaker
from numpy.typing import NDArray

LONGEST_WORD = 100
"""Characters; a longer run is cut into several words, since an array of strings takes the longest one's room for each.
"""


@dataclass(frozen=True)
class Words:
    """The words of a text that tokens stand for; of a text that was cut, those before the cut.

    Attributes
    ----------
    texts : list of str, length W
    offsets : ndarray, (W, 2), int64
        First character of each word, and the one after its last.
    spans : ndarray, (W, 2), int64
        First token of each word, and the one after its last. Special tokens belong to none.
    """

    texts: list[str]
    offsets: NDArray[np.int64]
    spans: NDArray[np.int64]

    def sums(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over each word's tokens, (…, W), of scores by token, (…, L)."""
        running = np.concatenate([np.zeros((*scores.shape[:-1], 1)), np.cumsum(scores, axis=-1)], axis=-1)
        summed: NDArray[np.float64] = running[..., self.spans[:, 1]] - running[..., self.spans[:, 0]]
        return summed


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Yield the first character of each word and the one after its last: in order, all that is no space."""
    run = (0, 0)  # of signs, that may go on
    end = 0
    # Pieces, not their places: those count UTF-16 units, two for each character beyond the first plane.
    for piece in WordBreaker(text, "root"):
        end += len(piece)
        start = end - len(piece.lstrip())  # a mark upon a space is of its piece
        signs = _is_signs(piece)
        if signs and start == run[1]:
            run = run[0], end
            continue
        yield from _cut(*run)
        run = (start, end) if signs else (end, end)
        if not signs:
            yield from _cut(start, end)
    yield from _cut(*run)


def _is_signs(piece: str) -> bool:
    """Whether a piece is neither letters, digits nor an emoji, each of which stands by itself."""
    return not any(sign.isalnum() or sign == "\ufe0f" or "\U0001f000" <= sign <= "\U0001faff" for sign in piece)


def _cut(start: int, end: int) -> Iterator[tuple[int, int]]:
    return ((place, min(place + LONGEST_WORD, end)) for place in range(start, end, LONGEST_WORD))


def _short(word: str) -> str:
    """Return a word of :data:`LONGEST_WORD` characters at most; its offsets say where all of it stands."""
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…"


def find_words(text: str, offsets: NDArray[np.int64]) -> Words:
    """Find the words of a text and the tokens of each.

    Parameters
    ----------
    text : str
    offsets : ndarray, (L, 2)
        Characters of each token, increasing; empty (start = end) for special tokens.

    Returns
    -------
    Words
        A token counts to the word in which it begins, or to the next one where it begins between two. Words that no
        token begins in, as where one unknown token stands for many, are part of the word whose token covers them.
    """
    found: list[tuple[int, int]] = []
    last = int(offsets[:, 1].max(initial=0))
    for word in _words(text):
        found.append(word)
        if word[0] >= last:  # of a text that is cut
            break
    ends = np.array([end for _, end in found], np.int64)
    tokens: dict[int, list[int]] = {}
    for token, (start, end) in enumerate(offsets.tolist()):
        if start < end and found:
            begin = start + len(text[start:end]) - len(text[start:end].lstrip())
            place = min(int(np.searchsorted(ends, begin, side="right")), len(found) - 1)
            tokens.setdefault(place, []).append(token)
    places = [*tokens, len(found)]
    spans = []
    for place, following in pairwise(places):
        reach = int(offsets[tokens[place], 1].max())
        covered = [end for start, end in found[place:following] if start < reach]
        spans.append((found[place][0], max(covered, default=found[place][1])))
    return Words(
        texts=[_short(text[start:end]) for start, end in spans],
        offsets=np.array(spans, np.int64).reshape(-1, 2),
        spans=np.array([(own[0], own[-1] + 1) for own in tokens.values()], np.int64).reshape(-1, 2),
    )
