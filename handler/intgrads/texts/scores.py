"""What each token and each word of a text was given: sums of integrated gradients, with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from intgrads.answers.verified import finite
from intgrads.integral.attribution import Attribution
from intgrads.integral.expectation import spread
from intgrads.texts.words import Words

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of L tokens and W words, for T targets.

    Attributes
    ----------
    of_tokens, error_of_tokens : ndarray, (T, L)
    of_words, error_of_words : ndarray, (T, W)
    spread_of_tokens, spread_of_words : ndarray, (T, L) and (T, W), or None
        How far several baselines are apart; None of one.
    """

    of_tokens: Array
    error_of_tokens: Array
    of_words: Array
    error_of_words: Array
    spread_of_tokens: Array | None
    spread_of_words: Array | None

    @classmethod
    def of(cls, attribution: Attribution, words: Words) -> Scores:
        """Return the scores of an attribution."""
        tokens = _sums(attribution.integrated_gradients)
        targets, count = tokens.shape
        errors = attribution.errors
        # The sums of groups follow those of tokens, where there are any.
        each = [
            (
                errors.of_sums(t, lambda sums: sums[:, :count]),
                errors.of_sums(t, lambda sums: words.sums(sums[:, :count])),
            )
            for t in range(targets)
        ]
        error_of_tokens, error_of_words = (np.stack(kind) for kind in zip(*each, strict=True))
        return cls(
            tokens,
            error_of_tokens,
            words.sums(tokens),
            error_of_words,
            spread(attribution, _sums),
            spread(attribution, lambda one: words.sums(_sums(one))),
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Return them for each target, as plain JSON."""
        kinds = {
            "tokens": self.of_tokens,
            "tokens_error": self.error_of_tokens,
            "words": self.of_words,
            "words_error": self.error_of_words,
            "words_spread": self.spread_of_words,
        }
        return [
            {name: [finite(one) for one in of[t].tolist()] for name, of in kinds.items() if of is not None}
            for t in range(len(self.of_tokens))
        ]


def _sums(integrated_gradients: Tensor) -> Array:
    """Return the score of each token, (T, L)."""
    scores: Array = integrated_gradients.double().sum(-1).numpy()
    return scores
