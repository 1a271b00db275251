"""A text classifier as the service sees it, and a text on its way through it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from intgrads.errors import RequestError
from intgrads.integral.groups import GroupFamily
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.request import Request, json_in
from intgrads.settings import Settings
from intgrads.speed.precision import Between
from intgrads.subject import Clock, Integrand, Subject
from intgrads.texts.baselines import TOKEN_BASELINES, drawn_baseline
from intgrads.texts.embeddings import FromEmbeddings
from intgrads.texts.groups import CharacterSpan, TextGroups, callers_spans, token_groups
from intgrads.texts.request import TextRequest
from intgrads.texts.sentences import Sentence, read_texts, tokenise
from intgrads.texts.shown import ShownText
from intgrads.texts.spec import TextSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class TextClassifier:
    """A network ready to be attributed.

    Attributes
    ----------
    module : nn.Module
        Takes ``input_ids`` and perhaps ``token_type_ids`` and gives ``logits``; evaluation mode, parameters frozen.
    text : TextSpec
    labels : Labels
    outputs : str
        What they are; see :mod:`intgrads.outputs`.
    """

    module: nn.Module
    text: TextSpec
    labels: Labels
    outputs: Outputs = "softmax"

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

    @property
    def defaults(self) -> dict[str, Any]:
        """The baseline of a network that has no word for padding, which is the default elsewhere: zeros."""
        return {} if "pad" in self.text.tokens else {"baseline": "zero"}

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        drawn = ("zero", "rand-norm", "rand-unif")
        return {"max_tokens": self.text.max_tokens, "baselines": [*self.text.tokens, *drawn]}

    def read(self, request: TextRequest, settings: Settings) -> list[SentText]:
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
        sentences = [
            tokenise(text, self.tokenizer, self.text.tokens.get("unk"), field) for text in read_texts(request, settings)
        ]
        return [SentText(self, request, sentence) for sentence in sentences]


@dataclass(frozen=True)
class SentText:
    """One text of a request, cut into tokens."""

    network: TextClassifier
    request: TextRequest
    sentence: Sentence

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of x: tokens and numbers a token."""
        return len(self.sentence.ids), self.network.text.layer.width

    def look(self, in_time: Clock) -> Subject:
        """Make its groups, and take its embeddings and its baseline's from the network."""
        in_time()
        sentence, network, request = self.sentence, self.network, self.request
        groups = asked_groups(request, sentence)
        family = None if groups is None else _family(groups, len(sentence.ids))
        forward = self._from_embeddings(network.module)
        x = forward.embed()
        if request.baseline in TOKEN_BASELINES:
            baseline = forward.embed(network.text.tokens[request.baseline])
        else:
            baseline = drawn_baseline(request.baseline, self.shape, request.seed).to(x)
        return Subject(
            Integrand(
                bind=self._from_embeddings,
                input=x,
                baseline=baseline,
                labels=network.labels,
                by_unit=lambda features: features,
                unit_shape=self.shape[:1],
                family=family,
                scores=True,
            ),
            ShownText(sentence, network.text.max_tokens, family),
            (*sentence.notes, *(groups.notes if groups else ())),
        )

    def _from_embeddings(self, module: nn.Module) -> FromEmbeddings:
        """Return a network as it takes this text's embeddings, (B, L, D) to logits."""
        # What rounds a whole network rounds its input, which here are the embeddings inside it.
        inner = module.module if isinstance(module, Between) else module
        device = next(inner.parameters()).device
        inputs = {name: value.to(device) for name, value in self.network.text.inputs(self.sentence).items()}
        return FromEmbeddings(inner, self.network.text.layer, inputs)


def asked_groups(request: TextRequest, sentence: Sentence) -> TextGroups | None:
    """Return the groups of tokens that were asked for.

    Raises
    ------
    RequestError
        If they are none, or do not fit the text.
    """
    groups = request.groups
    if groups is None:
        return None
    if groups == "words":
        words = zip(sentence.words.texts, sentence.words.offsets.tolist(), strict=True)
        spans = [CharacterSpan("word", word, *offsets) for word, offsets in words]
    else:
        if isinstance(groups, str) and groups.lstrip()[:1] == "[":
            groups = json_in(groups, "groups")
        spans = callers_spans(groups, sentence.text)
    return token_groups(spans, sentence.offsets, sentence.tokens)


def _family(groups: TextGroups, length: int) -> GroupFamily:
    """Return the tokens, the groups and the whole text, which are listed all."""
    places = np.arange(length)
    return GroupFamily(
        kinds=groups.kinds,
        labels=groups.labels,
        members=(groups.spans[:, :1] <= places) & (places < groups.spans[:, 1:]),
        units=False,
        places=groups.spans,
    )
