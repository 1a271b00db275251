"""An archive of a network of texts, opened."""

from __future__ import annotations

from intgrads.speed.preparation import prepare_linear
from intgrads.stored import Stored
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.spec import TOKENIZER, TextSpec


def open_texts(stored: Stored, _: object) -> TextClassifier:
    """Return the classifier of an archive, prepared to run on its device."""
    tokenizer = (stored.directory / TOKENIZER).read_text(encoding="utf-8")
    module = prepare_linear(stored.build(), stored.device, stored.choices)
    return TextClassifier(module, TextSpec.stored(stored.manifest["text"], tokenizer), stored.labels, stored.outputs)
