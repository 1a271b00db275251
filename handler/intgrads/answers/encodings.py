"""The encodings of answers.

Every format carries the same figures, the convergence delta among them: ``json`` is made of them, ``gzip`` and
``npz`` hold them under ``info``, ``safetensors`` in its metadata, ``png`` in a text chunk, and ``html`` shows them. A
request for several texts is answered with ``answers``, a list of what each would get alone; ``npz`` and
``safetensors``, which hold no lists, put the place in the list before each name: ``0.tokens``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from isal import igzip
from safetensors.torch import save as save_safetensors

from intgrads.answers.answer import Answer
from intgrads.answers.images import to_png
from intgrads.answers.page import answer_section, page
from intgrads.call import Reply
from intgrads.errors import RequestError
from intgrads.request import CONTENT_TYPES, Format

CHUNK = 4 * 1024 * 1024
"""Bytes of a piece of a compressed answer, so that pieces can leave one by one."""


def encode(answers: Sequence[Answer], several: bool, format: Format, headers: dict[str, str]) -> Reply:
    """Encode the answers of one request: a single one, or a list.

    Raises
    ------
    RequestError
        If there is no picture of what was asked for, and one is wanted.
    """
    encoders: dict[str, Callable[[Sequence[Answer], bool], list[bytes]]] = {
        "gzip": _gzip,
        "safetensors": _safetensors,
        "npz": _npz,
        "json": _json,
        "png": _png,
        "html": _html,
    }
    content_type = next(kind for kind, name in CONTENT_TYPES.items() if name == format)
    return Reply(200, content_type, encoders[format](answers, several), headers)


class _Chunks:
    """A file that is written only, and kept in pieces of :data:`CHUNK` bytes."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self._open = bytearray()

    def write(self, data: bytes | memoryview) -> int:
        self._open += data
        while len(self._open) >= CHUNK:
            self.done.append(bytes(self._open[:CHUNK]))
            del self._open[:CHUNK]
        return len(data)

    def flush(self) -> None:
        pass

    def finish(self) -> list[bytes]:
        return [*self.done, bytes(self._open)]


def _info(answer: Answer) -> dict[str, Any]:
    """Return the figures of an answer as plain JSON, the small arrays and strings among them."""
    return answer.info.to_json() | answer.figures | answer.strings


def _gzip(answers: Sequence[Answer], several: bool) -> list[bytes]:
    contents = [{**answer.tensors, **answer.strings, "info": _info(answer)} for answer in answers]
    chunks = _Chunks()
    # Level 1 of ISA-L: gradients hardly compress, and level 9 of zlib takes 20 times as long for the same size.
    # mtime=0, so that equal answers are equal bytes.
    with igzip.IGzipFile(fileobj=chunks, mode="wb", compresslevel=1, mtime=0) as file:
        torch.save({"answers": contents} if several else contents[0], file)
    return chunks.finish()


def _flat(contents: Sequence[dict[str, Any]], several: bool) -> dict[str, Any]:
    """Return one dictionary of all, the place in the list before each name where there are several."""
    if not several:
        return contents[0]
    return {f"{place}.{name}": value for place, content in enumerate(contents) for name, value in content.items()}


def _safetensors(answers: Sequence[Answer], several: bool) -> list[bytes]:
    metadata = _flat([{"info": json.dumps(_info(answer))} for answer in answers], several)
    return [save_safetensors(_flat([answer.tensors for answer in answers], several), metadata)]


def _npz(answers: Sequence[Answer], several: bool) -> list[bytes]:
    contents = [
        {name: tensor.numpy() for name, tensor in answer.tensors.items()}
        | {name: np.array(strings, dtype=np.str_) for name, strings in answer.strings.items()}
        | {"info": np.array(json.dumps(_info(answer)))}
        for answer in answers
    ]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_flat(contents, several))
    return [buffer.getvalue()]


def _json(answers: Sequence[Answer], several: bool) -> list[bytes]:
    contents = [
        _info(answer) | ({name: t.tolist() for name, t in answer.tensors.items()} if answer.tensors_in_json else {})
        for answer in answers
    ]
    content = {"answers": contents} if several else contents[0]
    return [json.dumps(content, ensure_ascii=False, allow_nan=False).encode()]


def _png(answers: Sequence[Answer], several: bool) -> list[bytes]:
    draw = answers[0].draw
    if several or draw is None:
        raise RequestError("there is no picture of this; ask for `format` html", "format")
    return [to_png(draw(), json.dumps(_info(answers[0])))]


def _html(answers: Sequence[Answer], several: bool) -> list[bytes]:  # noqa: ARG001
    sections = [answer_section(answer.info, answer.sections()) for answer in answers]
    return [page(answers[0].info.model, sections).encode()]
