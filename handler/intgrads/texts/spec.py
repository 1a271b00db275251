"""How a network wants its text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from intgrads.texts.embeddings import EmbeddingLayer
from intgrads.texts.sentences import Sentence

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class TextSpec:
    """How a network wants its text.

    Attributes
    ----------
    tokenizer : str
        A ``tokenizer.json`` of the library tokenizers.
    max_tokens : int
        Special ones included; a longer text is cut.
    segments : bool
        Whether the network is given ``token_type_ids``.
    layer : EmbeddingLayer
        Where the text enters.
    tokens : dict of str to int
        Index of the token of each baseline whose word this network has: ``pad``, ``unk``, ``mask``, ``period``.
    """

    tokenizer: str
    max_tokens: int
    segments: bool
    layer: EmbeddingLayer
    tokens: dict[str, int]

    kind = "text"

    def stated(self) -> dict[str, Any]:
        """Return all but the tokeniser as plain JSON, for an archive's manifest."""
        return {name: value for name, value in asdict(self).items() if name != "tokenizer"}

    def files(self) -> dict[str, str]:
        """Return what of it lies in files of its own: the tokeniser."""
        return {TOKENIZER: self.tokenizer}

    @classmethod
    def stored(cls, content: dict[str, Any], tokenizer: str) -> Self:
        """Return what :meth:`stated` and :meth:`files` told."""
        return cls(**{**content, "layer": EmbeddingLayer(**content["layer"])}, tokenizer=tokenizer)

    def inputs(self, sentence: Sentence) -> dict[str, Tensor]:
        """Return what the network takes of a text, each (L,)."""
        inputs = {"input_ids": torch.from_numpy(sentence.ids)}
        if self.segments:
            inputs["token_type_ids"] = torch.from_numpy(sentence.type_ids)
        return inputs
