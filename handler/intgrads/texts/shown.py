"""How a text and its attribution are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from intgrads.answers.page import groups_section, spread_sentence
from intgrads.integral.attribution import Attribution
from intgrads.integral.expectation import spread
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.subject import Array
from intgrads.texts.page import phrases_section, spread_section, text_section
from intgrads.texts.sentences import Sentence


@dataclass(frozen=True)
class ShownText:
    """A text as answers show it.

    Attributes
    ----------
    sentence : Sentence
    max_tokens : int
        That the network takes.
    family : GroupFamily or None
        The groups that were asked for.
    """

    sentence: Sentence
    max_tokens: int
    family: GroupFamily | None

    draw = None
    """There is no picture of a text."""

    def arrays(self, attribution: Attribution | None) -> list[Array]:
        """Return what comes with every answer about the text."""
        sentence = self.sentence
        arrays = [
            Array("input_ids", sentence.ids),
            Array("offsets", sentence.offsets),
            Array("truncated", np.array(sentence.truncated)),
            Array("word_offsets", sentence.words.offsets),
            Array("word_spans", sentence.words.spans),
        ]
        if attribution is not None:
            scores = _scores(attribution.integrated_gradients)
            arrays.append(Array("token_scores", scores, per_target=True))
            arrays.append(Array("word_scores", sentence.words.sums(scores), per_target=True))
            errors = [self._errors(attribution, t) for t in range(len(scores))]
            of_tokens, of_words = (np.stack(kind) for kind in zip(*errors, strict=True))
            arrays.append(Array("token_scores_error", of_tokens, per_target=True))
            arrays.append(Array("word_scores_error", of_words, per_target=True))
            for name, apart in zip(
                ("token_scores_spread", "word_scores_spread"), self._spread(attribution), strict=True
            ):
                if apart is not None:
                    arrays.append(Array(name, apart, per_target=True))
        if self.family is not None:
            arrays.append(Array("group_spans", self.family.places))
        return arrays

    def strings(self) -> dict[str, list[str]]:
        """Return the lists of strings that come with every answer."""
        return {"tokens": self.sentence.tokens, "words": self.sentence.words.texts}

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the text, as plain JSON."""
        return {"text": self.sentence.text, "max_tokens": self.max_tokens}

    def _errors(self, attribution: Attribution, target: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the errors of the scores of tokens, (L,), and of words, (W,), for one of the targets."""
        count, words = len(self.sentence.ids), self.sentence.words
        errors = attribution.errors
        # The sums of groups follow those of tokens, where there are any.
        return (
            errors.of_sums(target, lambda sums: sums[:, :count]),
            errors.of_sums(target, lambda sums: words.sums(sums[:, :count])),
        )

    def _spread(self, attribution: Attribution) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Return how far several baselines are apart in scores of tokens, (T, L), and of words, (T, W); None of one."""
        words = self.sentence.words
        return spread(attribution, _scores), spread(attribution, lambda each: words.sums(_scores(each)))

    def section(
        self,
        attribution: Attribution | None,
        target: int,
        groups: GroupValues | None,
        kept: Sequence[int],  # noqa: ARG002
    ) -> str:
        """Return the text in HTML, its words coloured by their scores for one of the targets, and its groups."""
        if attribution is None:
            section = text_section(self.sentence, np.zeros(len(self.sentence.ids)))
        else:
            scores = _scores(attribution.integrated_gradients)[target]
            section = text_section(self.sentence, scores, *self._errors(attribution, target))
            _, apart = self._spread(attribution)
            if apart is not None:
                of_words = self.sentence.words.sums(scores)
                section += spread_section(self.sentence, apart[target], of_words)
                section += spread_sentence("scores", "word", apart[target], of_words)
        if self.family is None or groups is None:
            return section
        return section + phrases_section(self.sentence, self.family, groups) + groups_section(self.family, groups)


def _scores(integrated_gradients: Tensor) -> NDArray[np.float64]:
    """Return the score of each token, (T, L)."""
    scores: NDArray[np.float64] = integrated_gradients.double().sum(-1).numpy()
    return scores
