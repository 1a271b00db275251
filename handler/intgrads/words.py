"""Words: what a reader takes for one, which tokens make it up, and sums over them.

A tokeniser cuts words into pieces and some write several signs as one token, so that figures by token are hard to
read. A word here is a run of letters and digits, with apostrophes inside it ("isn't"), or a run of other signs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w{1,100}(?:['’]\w{1,100}){0,3}|[^\w\s]{1,100}")
"""Bounded, since an array of strings takes the longest one's room for each; a longer run is cut into several words."""


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
        A token counts to the word in which it begins, or to the next one where it begins between two.
    """
    found = list(_WORD.finditer(text))
    ends = np.array([word.end() for word in found], np.int64)
    tokens: dict[int, list[int]] = {}
    for token, (start, end) in enumerate(offsets.tolist()):
        if start < end and found:
            begin = start + len(text[start:end]) - len(text[start:end].lstrip())
            word = min(int(np.searchsorted(ends, begin, side="right")), len(found) - 1)
            tokens.setdefault(word, []).append(token)
    return Words(
        texts=[found[word].group() for word in tokens],
        offsets=np.array([found[word].span() for word in tokens], np.int64).reshape(-1, 2),
        spans=np.array([(own[0], own[-1] + 1) for own in tokens.values()], np.int64).reshape(-1, 2),
    )
