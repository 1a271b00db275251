"""Small networks of text, their vocabularies, and services made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from intgrads.call import Call
from intgrads.labels import Labels
from intgrads.networks.family import Ingredients, Order
from intgrads.networks.sequence_classifiers import SequenceClassifiers
from intgrads.service import Service
from intgrads.settings import Settings
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.spec import TextSpec
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    XLNetConfig,
    XLNetForSequenceClassification,
    XLNetTokenizer,
)

WORDS = """
the camera is not good but i like it a b c d isn ##t ##s film bad really . , ' ! ? 1 2 3 é 好
""".split()  # noqa: SIM905
VOCABULARY = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
LABELS = {0: "negative", 1: "positive", 2: "mixed"}
INDICES = {label: index for index, label in LABELS.items()}
LONGEST = 40


def small_bert(**options: Any) -> BertForSequenceClassification:
    """Return a random BERT of two layers and three classes, far from linear."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=LONGEST, initializer_range=0.3, id2label=LABELS, label2id=INDICES,
        **options,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
    return model


def small_bert_tokenizer() -> BertTokenizer:
    """Return its tokeniser."""
    return BertTokenizer(vocab=VOCABULARY, model_max_length=LONGEST)


def plain_tokenizer(pad: int | None = VOCABULARY["[PAD]"]) -> PreTrainedTokenizerFast:
    """Return the same without segments, its padding token at a place of the caller's, or none."""
    words = [word for word in VOCABULARY if word != "[PAD]"]
    words.insert(len(words) if pad is None else pad, "[PAD]")
    backend = BertTokenizer(vocab={word: i for i, word in enumerate(words)}).backend_tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], model_max_length=LONGEST,
        pad_token=None if pad is None else "[PAD]", unk_token="[UNK]", mask_token="[MASK]",
    )  # fmt: skip


def small_xlnet() -> XLNetForSequenceClassification:
    """Return a random XLNet of two layers and three classes."""
    torch.manual_seed(0)
    config = XLNetConfig(
        vocab_size=60, d_model=16, n_layer=2, n_head=4, d_inner=32, initializer_range=0.3, id2label=LABELS,
        label2id=INDICES,
    )  # fmt: skip
    return XLNetForSequenceClassification(config).eval()


def small_xlnet_tokenizer() -> XLNetTokenizer:
    """Return its tokeniser, a vocabulary of 60 pieces."""
    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>", "▁", "."]
    pieces = [f"▁{word}" for word in ("the", "camera", "is", "not", "good", "but", "like", "film", "bad", "it")]
    letters = list("abcdefghijklmnopqrstuvwxyz0123,'!?")
    vocabulary = [(piece, 0.0 if piece.startswith("<") else -1.0 - len(piece) / 10) for piece in special + pieces]
    vocabulary += [(letter, -9.0) for letter in letters]
    vocabulary += [(f"▁{letter}", -9.0) for letter in "abcdefghijklm"]
    return XLNetTokenizer(vocab=vocabulary[:60], do_lower_case=True)


def saved(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
    """Save a network and its tokeniser as transformers does."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prepared(folder: Path, **settings: Any) -> Ingredients:
    """Return what goes into the archive of a saved network."""
    return SequenceClassifiers().read(Order(f"hf:{folder}", None, None, Settings.model_validate(settings)))


def service_of(ingredients: Ingredients, **settings: Any) -> Service[TextClassifier]:
    """Return a service of a network as its archive would hold it."""
    module = SequenceClassifiers().build(ingredients.architecture)
    module.load_state_dict(ingredients.weights)
    assert isinstance(ingredients.spec, TextSpec)
    network = TextClassifier(module.eval().requires_grad_(False), ingredients.spec, Labels(ingredients.labels))
    return Service("toy", network, Settings.model_validate({"threads": 1, **settings}), torch.device("cpu"))


def without_tokens(ingredients: Ingredients, *names: str) -> Ingredients:
    """Return the ingredients with a vocabulary that lacks some baselines' tokens."""
    assert isinstance(ingredients.spec, TextSpec)
    left = {name: index for name, index in ingredients.spec.tokens.items() if name not in names}
    return replace(ingredients, spec=replace(ingredients.spec, tokens=left))


def text_call(text: str | bytes, accept: str = "", content_type: str = "text/plain") -> Call:
    """Return a call whose body is a text."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return Call(raw, accept=accept, content_type=content_type.lower())


def bert_service(**settings: Any) -> Service[TextClassifier]:
    """Return a service of the small BERT."""
    with TemporaryDirectory() as folder:
        ingredients = prepared(saved(Path(folder), small_bert(), small_bert_tokenizer()))
    return service_of(ingredients, **settings)


def xlnet_service(**settings: Any) -> Service[TextClassifier]:
    """Return a service of the small XLNet."""
    with TemporaryDirectory() as folder:
        ingredients = prepared(saved(Path(folder), small_xlnet(), small_xlnet_tokenizer()))
    return service_of(ingredients, **settings)
