"""A text classifier as the service sees it, and a text on its way through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from intgrads.baselines import DATA, Start, starts
from intgrads.errors import RequestError
from intgrads.integral.groups import GroupFamily
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.request import Request, json_in
from intgrads.settings import Settings
from intgrads.speed.precision import Between
from intgrads.subject import Baseline, Clock, Integrand, Subject
from intgrads.texts.baselines import RANDOM, TOKEN_BASELINES, UNIFORM, DrawnBaseline, drawn_baseline
from intgrads.texts.embeddings import FromEmbeddings
from intgrads.texts.groups import CharacterSpan, TextGroups, callers_spans, token_groups
from intgrads.texts.request import TextRequest
from intgrads.texts.sentences import Sentence, check_text, decode_text, read_texts, tokenise
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
    examples : tuple of Path
        Texts that requests can start from.
    """

    module: nn.Module
    text: TextSpec
    labels: Labels
    outputs: Outputs = "softmax"
    examples: tuple[Path, ...] = ()

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
        drawn = get_args(DrawnBaseline)
        return {
            "max_tokens": self.text.max_tokens,
            "baselines": [*self.text.tokens, *drawn],
            "examples": len(self.examples),
        }

    def read(self, request: TextRequest, settings: Settings) -> list[SentText]:
        """Cut the texts of a request into tokens.

        Raises
        ------
        RequestError
            If one cannot be, or the network has no word for the baseline's token.
        """
        starts = self._starts(request, settings)
        field = "sequence" if request.data is None else "data"
        sentences = [self._tokenise(text, field) for text in read_texts(request, settings)]
        return [SentText(self, request, sentence, starts) for sentence in sentences]

    def _starts(self, request: TextRequest, settings: Settings) -> list[Start]:
        """Return where the paths of a request start, the caller's own texts and examples cut into tokens."""
        found = starts(
            request.baseline,
            request.baseline_data,
            request.seed,
            random=RANDOM,
            uniform=UNIFORM,
            examples=self.examples,
            most=settings.max_baselines,
        )
        for start in found:
            if start.name in TOKEN_BASELINES and start.name not in self.text.tokens:
                raise RequestError(
                    f"this network has no word for {start.name!r}; choose one of "
                    f"{', '.join(self.describe()['baselines'])}",
                    "baseline",
                )
        return [
            start if start.content is None else replace(start, content=self._own_text(start.content, settings))
            for start in found
        ]

    def _own_text(self, content: Any, settings: Settings) -> Sentence:
        if isinstance(content, Path):
            return self._tokenise(decode_text(content.read_bytes(), "baseline"), "baseline")
        return self._tokenise(check_text(content, settings, DATA), DATA)

    def _tokenise(self, text: str, field: str) -> Sentence:
        return tokenise(text, self.tokenizer, self.text.tokens.get("unk"), field)


@dataclass(frozen=True)
class SentText:
    """One text of a request, cut into tokens."""

    network: TextClassifier
    request: TextRequest
    sentence: Sentence
    starts: Sequence[Start]

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
        baselines, about_baselines = [], []
        for start in self.starts:
            point, notes = self._point(start, forward, x)
            baselines.append(Baseline(start.name, start.seed, point))
            about_baselines += [f"{start.name}: {note}" for note in notes]
        return Subject(
            Integrand(
                bind=self._from_embeddings,
                input=x,
                baselines=tuple(baselines),
                labels=network.labels,
                by_unit=lambda features: features,
                unit_shape=self.shape[:1],
                family=family,
                scores=True,
            ),
            ShownText(sentence, network.text.max_tokens, family),
            (*sentence.notes, *(groups.notes if groups else ()), *about_baselines),
        )

    def _point(self, start: Start, forward: FromEmbeddings, x: Tensor) -> tuple[Tensor, Sequence[str]]:
        """Return a baseline of this text, (L, D), and notes on what was done to it."""
        tokens, other = self.network.text.tokens, start.content
        if start.name in TOKEN_BASELINES:
            return forward.embed(tokens[start.name]), ()
        if not isinstance(other, Sentence):
            return drawn_baseline(start.name, self.shape, start.seed or 0).to(x), ()
        ids = self.sentence.with_words_of(other, tokens.get("pad"))
        own, given = int(self.sentence.spoken.sum()), int(other.spoken.sum())
        if ids is None:
            raise RequestError(
                f"{start.name} has {given} tokens and the text {own}, and this network has no padding to fill it up "
                "with; send a text at least as long",
                DATA if start.name.startswith(DATA) else "baseline",
            )
        done = {-1: ["the padding token's word stands for the rest"], 0: [], 1: ["the rest was cut"]}
        fit = [f"it has {given} tokens and the text {own}: {how}" for how in done[int(np.sign(given - own))]]
        return forward.embed(torch.from_numpy(ids).to(x.device)), (*other.notes, *fit)

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
