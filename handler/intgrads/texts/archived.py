"""An archive of a network of texts, opened."""

from __future__ import annotations

from intgrads.errors import RequestError
from intgrads.settings import Settings
from intgrads.speed.preparation import prepare_linear
from intgrads.stored import Stored
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.sentences import check_text, decode_text
from intgrads.texts.spec import TOKENIZER, TextSpec


def open_texts(stored: Stored, _: object) -> TextClassifier:
    """Return the classifier of an archive, prepared to run on its device."""
    tokenizer = (stored.directory / TOKENIZER).read_text(encoding="utf-8")
    module = prepare_linear(stored.build(), stored.device, stored.choices)
    spec = TextSpec.stored(stored.manifest["text"], tokenizer)
    return TextClassifier(module, spec, stored.labels, stored.outputs, stored.examples)


def check_text_file(data: bytes, settings: Settings) -> None:
    """Raise RequestError where the bytes of a file are no text that this archive takes."""
    if not check_text(decode_text(data, "data"), settings, "data").strip():
        raise RequestError("the text is empty", "data", kind="EmptyText")
