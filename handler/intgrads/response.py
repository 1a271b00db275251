"""What a caller gets back: the tensors, the figures that go with them, and their encodings.

Every format carries the same figures, the convergence delta among them: ``json`` is made of them, ``gzip`` and
``npz`` hold them under ``info``, ``safetensors`` in its metadata, and ``png`` as text chunks do in the headers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
import torch
from isal import igzip
from safetensors.torch import save as save_safetensors
from torch import Tensor

from intgrads.errors import RequestError
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
    draw : callable
        Makes the png; called only for that format.
    tensors_in_json : bool
        Whether the tensors were asked for by name.
    """

    tensors: dict[str, Tensor]
    info: dict[str, Any]
    draw: Callable[[], bytes]
    tensors_in_json: bool


def error_reply(error: RequestError) -> Reply:
    """Return the reply that tells of an error."""
    return Reply(error.code, "application/json", [error.to_json()], {})


def answer_reply(answer: Answer, format: Format, headers: dict[str, str]) -> Reply:
    """Encode an answer."""
    encode = {
        "gzip": _gzip,
        "safetensors": _safetensors,
        "npz": _npz,
        "json": _json,
        "png": _png,
    }[format]
    content_type = next(kind for kind, name in CONTENT_TYPES.items() if name == format)
    return Reply(200, content_type, encode(answer), headers)


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


def _gzip(answer: Answer) -> list[bytes]:
    pieces = _Pieces()
    # Level 1 of ISA-L: gradients hardly compress, and level 9 of zlib takes 20 times as long for the same size.
    # mtime=0, so that equal answers are equal bytes.
    with igzip.IGzipFile(fileobj=pieces, mode="wb", compresslevel=1, mtime=0) as file:
        torch.save({**answer.tensors, "info": answer.info}, file)
    return pieces.finish()


def _safetensors(answer: Answer) -> list[bytes]:
    return _cut(save_safetensors(answer.tensors, {"info": json.dumps(answer.info)}))


def _npz(answer: Answer) -> list[bytes]:
    buffer = io.BytesIO()
    arrays = {name: tensor.numpy() for name, tensor in answer.tensors.items()}
    np.savez(buffer, info=np.array(json.dumps(answer.info)), allow_pickle=False, **arrays)
    return _cut(buffer.getvalue())


def _json(answer: Answer) -> list[bytes]:
    content = dict(answer.info)
    if answer.tensors_in_json:
        content |= {name: tensor.tolist() for name, tensor in answer.tensors.items()}
    return _cut(json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


def _png(answer: Answer) -> list[bytes]:
    return _cut(answer.draw())
