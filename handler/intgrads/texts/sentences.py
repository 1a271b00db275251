"""Texts: from what a caller sends to the tokens that a network takes.

The tokeniser is the network's own, as a ``tokenizer.json`` of the library tokenizers. What it leaves out, does not know
or has no room for is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intgrads.errors import RequestError
from intgrads.request import another_kind, is_picture
from intgrads.settings import Settings
from intgrads.texts.request import TextRequest
from intgrads.texts.words import Words, find_words

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True)
class Sentence:
    """A text and its tokens, special ones included.

    Attributes
    ----------
    text : str
        As it was sent.
    tokens : list of str, length L
        As the vocabulary writes them.
    ids, type_ids : ndarray, (L,), int64
    offsets : ndarray, (L, 2), int64
        First character of each token in the text, and the one after its last; (0, 0) for special tokens.
    words : Words
    truncated : bool
        Whether the network has no room for the end of the text.
    notes : tuple of str
        What of the text the network does not see, for the caller to read.
    """

    text: str
    tokens: list[str]
    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    words: Words
    truncated: bool
    notes: tuple[str, ...] = ()

    @property
    def spoken(self) -> NDArray[np.bool_]:
        """Which tokens stand for something of the text, (L,); the others are special."""
        spoken: NDArray[np.bool_] = self.offsets[:, 0] < self.offsets[:, 1]
        return spoken

    def with_words_of(self, other: Sentence, pad: int | None) -> NDArray[np.int64] | None:
        """Return this text's tokens with those of another at their places, (L,): cut, or filled up with padding.

        Special tokens stay. None where the other has too few and the network has no padding.
        """
        own, words = np.flatnonzero(self.spoken), other.ids[other.spoken]
        if len(words) < len(own) and pad is None:
            return None
        ids = self.ids.copy()
        ids[own] = np.pad(words[: len(own)], (0, max(0, len(own) - len(words))), constant_values=pad or 0)
        return ids


def decode_text(data: bytes, field: str) -> str:
    """Decode a text that came as bytes.

    Raises
    ------
    RequestError
        If it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"the text is not UTF-8 (byte {error.start}); save it as UTF-8 and send it again", field, kind="NotUTF8"
        ) from None


def read_texts(request: TextRequest, settings: Settings) -> list[str]:
    """Return the texts that were sent.

    Raises
    ------
    RequestError
        If there is none, both ways were used, or one is no text, empty or too long.
    """
    if request.data is not None and request.sequence is not None:
        raise RequestError("send one text, not data and sequence", "sequence")
    texts = request.sequence
    if request.data is not None:
        try:
            texts = decode_text(request.data, "data")
        except RequestError:
            if is_picture(request.data):
                raise another_kind(type(request), "data") from None
            raise
    if texts is None:
        raise RequestError(f"no text was sent; {request.how_to_send}", request.input_field, kind="NoText")
    listed = texts if isinstance(texts, list) else [texts]
    if not 1 <= len(listed) <= settings.max_sequences:
        raise RequestError(f"a list holds 1 to {settings.max_sequences} texts, got {len(listed)}", "sequence")
    return [check_text(text, settings, "sequence") for text in listed]


def check_text(text: Any, settings: Settings, field: str) -> str:
    """Return a text that was sent in a field.

    Raises
    ------
    RequestError
        If it is none, or too long.
    """
    if not isinstance(text, str):
        raise RequestError(f"must be a text or a list of texts, not {type(text).__name__}", field)
    if len(text) > settings.max_text_characters:
        raise RequestError(
            f"a text of {len(text)} characters is over the {settings.max_text_characters} this archive takes; "
            "send a shorter one",
            field,
            kind="TextTooLong",
        )
    return text


def encode(text: str, tokenizer: Tokenizer, field: str) -> Encoding:
    """Return what a tokeniser makes of a text.

    Raises
    ------
    RequestError
        If it breaks down: a regular expression of its own may give up on a text.
    """
    try:
        return tokenizer.encode(text)
    except BaseException as error:
        # What the library's own code panics with is no Exception, and would end a worker.
        if type(error).__name__ != "PanicException":
            raise
        raise RequestError(
            f"this network's tokeniser breaks down at this text ({error}); send another", field
        ) from None


def tokenise(text: str, tokenizer: Tokenizer, unknown: int | None, field: str) -> Sentence:
    """Cut a text into tokens.

    Parameters
    ----------
    text : str
    tokenizer : Tokenizer
        With the network's limit set by ``enable_truncation``.
    unknown : int, optional
        Index of the token for what the vocabulary lacks.
    field : str
        Field of the request that the text came in, for the error.

    Raises
    ------
    RequestError
        If the text holds half a character, or nothing that the tokeniser keeps.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError("the text holds half a character (a lone surrogate); send valid Unicode", field) from None
    encoding = encode(text, tokenizer, field)
    offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    spoken = offsets[:, 0] < offsets[:, 1]
    if not spoken.any():
        raise RequestError(
            "the text is empty: nothing of it becomes a token of this network; send a sentence", field, kind="EmptyText"
        )
    seen = int(offsets[:, 1].max())
    notes = []
    truncated = bool(encoding.overflowing)
    if truncated:
        over = sum(1 for rest in encoding.overflowing for start, end in rest.offsets if start < end)
        notes.append(
            f"the text was cut after {len(spoken)} of {len(spoken) + over} tokens, at character {seen} of "
            f"{len(text)}: this archive takes no more"
        )
    covered = np.zeros(seen, bool)
    for start, end in offsets[spoken].tolist():
        covered[start:end] = True
    left_out = sum(not text[place].isspace() for place in np.flatnonzero(~covered).tolist())
    if left_out:
        notes.append(f"characters that the tokeniser left out (control characters, accents or the like): {left_out}")
    ids = np.array(encoding.ids, np.int64)
    strange = int((ids[spoken] == unknown).sum())
    if unknown is not None and strange:
        notes.append(f"tokens that the vocabulary lacks: {strange}; the network sees {tokenizer.id_to_token(unknown)}")
    return Sentence(
        text=text,
        tokens=encoding.tokens,
        ids=ids,
        type_ids=np.array(encoding.type_ids, np.int64),
        offsets=offsets,
        words=find_words(text, offsets),
        truncated=truncated,
        notes=tuple(notes),
    )
