"""How a text and its attribution are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intgrads.integral.attribution import Attribution
from intgrads.integral.groups import GroupFamily
from intgrads.pages.exhibit import Exhibit
from intgrads.subject import Array
from intgrads.texts.page import text_exhibit
from intgrads.texts.scores import Scores
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
            scores = Scores.of(attribution, sentence.words)
            arrays += [
                Array(name, values, per_target=True)
                for name, values in (
                    ("token_scores", scores.of_tokens),
                    ("word_scores", scores.of_words),
                    ("token_scores_error", scores.error_of_tokens),
                    ("word_scores_error", scores.error_of_words),
                    ("token_scores_spread", scores.spread_of_tokens),
                    ("word_scores_spread", scores.spread_of_words),
                )
                if values is not None
            ]
        if self.family is not None:
            arrays.append(Array("group_spans", self.family.places))
        return arrays

    def strings(self) -> dict[str, list[str]]:
        """Return the lists of strings that come with every answer."""
        return {"tokens": self.sentence.tokens, "words": self.sentence.words.texts}

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the text, as plain JSON."""
        return {"text": self.sentence.text, "max_tokens": self.max_tokens}

    def exhibit(self, attribution: Attribution | None, kept: Sequence[Sequence[int]]) -> Exhibit:  # noqa: ARG002
        """Return what a page shows of the text; see :meth:`intgrads.subject.Shown.exhibit`."""
        scores = None if attribution is None else Scores.of(attribution, self.sentence.words)
        return text_exhibit(self.sentence, scores, self.family)
