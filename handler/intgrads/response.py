"""What a caller gets back: the tensors, the figures that go with them, and their encodings.

Every format carries the same figures, the convergence delta among them: ``json`` is made of them, ``gzip`` and
``npz`` hold them under ``info``, ``safetensors`` in its metadata, ``png`` in a text chunk, and ``html`` shows them. A
request for several texts is answered with ``answers``, a list of what each would get alone; ``npz`` and
``safetensors``, which hold no lists, put the place in the list before each name: ``0.tokens``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
import torch
from isal import igzip
from safetensors.torch import save as save_safetensors
from torch import Tensor

from intgrads.errors import RequestError
from intgrads.pages import answer_section, page
from intgrads.request import CONTENT_TYPES, Format

PIECE = 4 * 1024 * 1024
"""Bytes of one piece of an answer. One buffer of 300 MB takes TorchServe 20 s, the same in pieces 2 s."""


@dataclass(frozen=True)
class Reply:
    """What the server sends: a status, headers and a body in pieces.

    Attributes
    ----------
    status : int
    content_type : str
    body : list of bytes
        Pieces of :data:`PIECE` bytes at most, at least one.
    headers : dict of str to str
    """

    status: int
    content_type: str
    body: list[bytes]
    headers: dict[str, str]

    @property
    def phrase(self) -> str:
        """Reason phrase of the status."""
        return HTTPStatus(self.status).phrase


@dataclass(frozen=True)
class Answer:
    """An attribution ready to be encoded.

    Attributes
    ----------
    tensors : dict of str to Tensor
        The large ones that were asked for, and the figures of the integral.
    info : dict
        Figures, labels and warnings; plain JSON.
    strings : dict of str to list of str
        What is no number: lists in gzip, arrays in npz; part of ``info`` everywhere.
    png : callable
        Makes the picture, with a text in its chunk ``info``; called only for that format.
    sections : callable
        Makes the HTML of each target; called only for that format.
    tensors_in_json : bool
        Whether the tensors were asked for by name.
    """

    tensors: dict[str, Tensor]
    info: dict[str, Any]
    strings: dict[str, list[str]]
    png: Callable[[str], bytes]
    sections: Callable[[], list[str]]
    tensors_in_json: bool


def error_reply(error: RequestError) -> Reply:
    """Return the reply that tells of an error."""
    return Reply(error.code, "application/json", [error.to_json()], {})


def answer_reply(answers: Sequence[Answer], several: bool, format: Format, headers: dict[str, str]) -> Reply:
    """Encode the answers of one request: a single one, or a list."""
    encode: Callable[[Sequence[Answer], bool], list[bytes]] = {
        "gzip": _gzip,
        "safetensors": _safetensors,
        "npz": _npz,
        "json": _json,
        "png": _png,
        "html": _html,
    }[format]
    content_type = next(kind for kind, name in CONTENT_TYPES.items() if name == format)
    return Reply(200, content_type, encode(answers, several), headers)


class _Pieces:
    """A file that is written only, and kept in pieces of :data:`PIECE` bytes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._open = bytearray()

    def write(self, data: bytes | memoryview) -> int:
        self._open += data
        while len(self._open) >= PIECE:
            self.pieces.append(bytes(self._open[:PIECE]))
            del self._open[:PIECE]
        return len(data)

    def flush(self) -> None:
        pass

    def finish(self) -> list[bytes]:
        if self._open or not self.pieces:
            self.pieces.append(bytes(self._open))
        return self.pieces


def _cut(data: bytes) -> list[bytes]:
    return [data[start : start + PIECE] for start in range(0, len(data), PIECE)]


def _gzip(answers: Sequence[Answer], several: bool) -> list[bytes]:
    contents = [{**answer.tensors, **answer.strings, "info": answer.info} for answer in answers]
    pieces = _Pieces()
    # Level 1 of ISA-L: gradients hardly compress, and level 9 of zlib takes 20 times as long for the same size.
    # mtime=0, so that equal answers are equal bytes.
    with igzip.IGzipFile(fileobj=pieces, mode="wb", compresslevel=1, mtime=0) as file:
        torch.save({"answers": contents} if several else contents[0], file)
    return pieces.finish()


def _flat(contents: Sequence[dict[str, Any]], several: bool) -> dict[str, Any]:
    """Return one dictionary of all, the place in the list before each name where there are several."""
    if not several:
        return contents[0]
    return {f"{place}.{name}": value for place, content in enumerate(contents) for name, value in content.items()}


def _safetensors(answers: Sequence[Answer], several: bool) -> list[bytes]:
    metadata = _flat([{"info": json.dumps(answer.info)} for answer in answers], several)
    return _cut(save_safetensors(_flat([answer.tensors for answer in answers], several), metadata))


def _npz(answers: Sequence[Answer], several: bool) -> list[bytes]:
    contents = [
        {name: tensor.numpy() for name, tensor in answer.tensors.items()}
        | {name: np.array(strings, dtype=np.str_) for name, strings in answer.strings.items()}
        | {"info": np.array(json.dumps(answer.info))}
        for answer in answers
    ]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_flat(contents, several))
    return _cut(buffer.getvalue())


def _json(answers: Sequence[Answer], several: bool) -> list[bytes]:
    contents = [
        answer.info | ({name: t.tolist() for name, t in answer.tensors.items()} if answer.tensors_in_json else {})
        for answer in answers
    ]
    content = {"answers": contents} if several else contents[0]
    return _cut(json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


def _png(answers: Sequence[Answer], several: bool) -> list[bytes]:
    assert not several
    return _cut(answers[0].png(json.dumps(answers[0].info)))


def _html(answers: Sequence[Answer], several: bool) -> list[bytes]:  # noqa: ARG001
    sections = [answer_section(answer.info, answer.sections()) for answer in answers]
    return _cut(page(answers[0].info["model"], sections).encode())
