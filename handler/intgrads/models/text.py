"""A text classifier as the service sees it, and a text on its way through it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intgrads.attribution import Attribution
from intgrads.baselines import TOKEN_BASELINES, drawn_baseline
from intgrads.embeddings import EmbeddingLayer, FromEmbeddings
from intgrads.errors import RequestError
from intgrads.groups import Family, GroupValues
from intgrads.labels import Labels
from intgrads.pages import groups_section, phrases_section, text_section
from intgrads.precision import Between
from intgrads.request import Request, TextRequest
from intgrads.sentences import Sentence, tokenise
from intgrads.settings import Settings
from intgrads.text_groups import TextGroups

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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

    def to_json(self) -> dict[str, Any]:
        """Return all but the tokeniser, which is a file of its own."""
        return {name: value for name, value in asdict(self).items() if name != "tokenizer"}

    @classmethod
    def from_json(cls, content: dict[str, Any], tokenizer: str) -> Self:
        """Return what :meth:`to_json` made."""
        return cls(**{**content, "layer": EmbeddingLayer(**content["layer"])}, tokenizer=tokenizer)

    def inputs(self, sentence: Sentence) -> dict[str, Tensor]:
        """Return what the network takes of a text, each (L,)."""
        inputs = {"input_ids": torch.from_numpy(sentence.ids)}
        if self.segments:
            inputs["token_type_ids"] = torch.from_numpy(sentence.type_ids)
        return inputs


@dataclass(frozen=True)
class TextClassifier:
    """A network ready to be attributed.

    Attributes
    ----------
    module : nn.Module
        Takes ``input_ids`` and perhaps ``token_type_ids`` and gives ``logits``; evaluation mode, parameters frozen.
    text : TextSpec
    labels : Labels
    """

    module: nn.Module
    text: TextSpec
    labels: Labels

    @property
    def shape(self) -> None:
        """Texts differ in length."""
        return None

    @property
    def request(self) -> type[Request]:
        """What is asked of it."""
        return TextRequest

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokeniser, cutting at the network's limit."""
        # Imported here: a server of pictures needs none.
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.text.tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.text.max_tokens)
        return tokenizer

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        drawn = ("zero", "rand-norm", "rand-unif")
        return {"max_tokens": self.text.max_tokens, "baselines": [*self.text.tokens, *drawn]}

    def subjects(self, request: TextRequest, settings: Settings) -> list[Text]:
        """Cut the texts of a request into tokens.

        Raises
        ------
        RequestError
            If one cannot be, or the network has no word for the baseline's token.
        """
        if request.baseline in TOKEN_BASELINES and request.baseline not in self.text.tokens:
            raise RequestError(
                f"this network has no word for {request.baseline!r}; choose one of "
                f"{', '.join(self.describe()['baselines'])}",
                "baseline",
            )
        field = "sequence" if request.data is None else "data"
        sentences = []
        for text in request.texts(settings):
            sentences.append(tokenise(text, self.tokenizer, self.text.tokens.get("unk"), field))
        return [Text(self, request, sentence) for sentence in sentences]


class Text:
    """One text of a request.

    Parameters
    ----------
    network : TextClassifier
    request : TextRequest
    sentence : Sentence
    """

    def __init__(self, network: TextClassifier, request: TextRequest, sentence: Sentence) -> None:
        self.network, self.request, self.sentence, self.labels = network, request, sentence, network.labels
        self.attributed, self.targets = True, None
        self.shape = (len(sentence.ids), network.text.layer.width)
        groups = request.token_groups(sentence)
        self.family = None if groups is None else _family(groups, len(sentence.ids))
        self.notes = sentence.notes if groups is None else (*sentence.notes, *groups.notes)

    def bind(self, module: nn.Module) -> FromEmbeddings:
        """Return the network as it takes this text's embeddings, (B, L, D) to logits."""
        # What rounds a whole network rounds its input, which here are the embeddings inside it.
        inner = module.module if isinstance(module, Between) else module
        device = next(inner.parameters()).device
        inputs = {name: value.to(device) for name, value in self.network.text.inputs(self.sentence).items()}
        return FromEmbeddings(inner, self.network.text.layer, inputs)

    def path(self) -> tuple[Tensor, Tensor]:
        """Return the text's embeddings and its baseline's, each (L, D)."""
        forward = self.bind(self.network.module)
        x = forward.embed()
        name = self.request.baseline
        if name in TOKEN_BASELINES:
            return x, forward.embed(self.network.text.tokens[name])
        return x, drawn_baseline(name, self.shape, self.request.seed).to(x)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, of which one is true."""
        return logits.softmax(0)

    def figures(self, attribution: Attribution | None) -> dict[str, NDArray[Any]]:
        """Return what comes with every answer about the text; scores are (T, …)."""
        assert attribution is not None
        scores = attribution.integrated_gradients.double().sum(-1).numpy()
        sentence = self.sentence
        return {
            "input_ids": sentence.ids,
            "offsets": sentence.offsets,
            "truncated": np.array(sentence.truncated),
            "word_offsets": sentence.words.offsets,
            "word_spans": sentence.words.spans,
            "token_scores": scores,
            "word_scores": sentence.words.sums(scores),
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return what is large beside the attribution: nothing."""
        return {}

    def strings(self) -> dict[str, list[str]]:
        """Return the lists of strings that come with every answer."""
        return {"tokens": self.sentence.tokens, "words": self.sentence.words.texts}

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the text, as plain JSON."""
        return {"text": self.sentence.text, "max_tokens": self.network.text.max_tokens}

    def by_unit(self, features: Tensor) -> Tensor:
        """Return (L, D) as it is: tokens and their features."""
        return features

    def png(self, attribution: Attribution | None, groups: GroupValues | None, info: str) -> bytes:
        """Raise: a text has no such picture; requests that ask for one are refused before."""
        raise NotImplementedError

    def section(self, attribution: Tensor | None, groups: GroupValues | None) -> str:
        """Return the text in HTML, its words coloured by their scores for one of the targets, and its groups."""
        assert attribution is not None
        section = text_section(self.sentence, attribution.double().sum(-1).numpy())
        if self.family is None or groups is None:
            return section
        return section + phrases_section(self.sentence, self.family, groups) + groups_section(self.family, groups)


def _family(groups: TextGroups, length: int) -> Family:
    """Return the tokens, the groups and the whole text, which are listed all."""
    places = np.arange(length)
    return Family(
        kinds=groups.kinds,
        labels=groups.labels,
        members=(groups.spans[:, :1] <= places) & (places < groups.spans[:, 1:]),
        units=False,
        name="group_spans",
        places=groups.spans,
    )
