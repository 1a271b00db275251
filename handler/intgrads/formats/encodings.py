"""The encodings of answers.

Every format carries the same figures, the convergence delta among them: ``json`` is made of them, ``gzip`` and
``npz`` hold them under ``info``, ``safetensors`` in its metadata, ``png`` in a text chunk, and ``html`` shows them. A
request for several texts is answered with ``answers``, a list of what each would get alone; ``npz`` and
``safetensors``, which hold no lists, put the place in the list before each name: ``0.tokens``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from isal import igzip
from numpy.typing import NDArray
from safetensors.torch import save as save_safetensors
from torch import Tensor

from intgrads.errors import RequestError
from intgrads.formats.images import to_png
from intgrads.pages.page import page

Format = Literal["gzip", "safetensors", "npz", "json", "png", "html"]
FORMATS: tuple[str, ...] = get_args(Format)

DRAWN: tuple[Format, ...] = ("png", "html")
"""Formats that show pictures."""

UndrawnFormat = Literal["gzip", "safetensors", "npz", "json", "html"]
"""Formats of answers about what has no picture."""

CONTENT_TYPES: dict[str, Format] = {
    "application/gzip": "gzip",
    "application/x-gzip": "gzip",
    "application/x-safetensors": "safetensors",
    "application/x-npz": "npz",
    "application/json": "json",
    "image/png": "png",
    "text/html": "html",
}
"""Content types of an ``Accept`` header, the first of each format being the one that answers carry."""

CHUNK = 4 * 1024 * 1024
"""Bytes of a piece of a compressed answer, so that pieces can leave one by one."""


@dataclass(frozen=True)
class Contents:
    """What an encoder is given of the answer about one input.

    Attributes
    ----------
    model : str
    info : dict
        Figures, labels and warnings, as plain JSON.
    tensors : dict of str to Tensor
    strings : dict of str to list of str
        What is no number: lists in gzip, arrays in npz, part of JSON.
    tensors_in_json : bool
        Whether the tensors were asked for by name.
    draw : callable, or None
        Draws the picture of a png, (H, W, 3), uint8; called only for that format. None where there is none.
    page : callable
        Returns what a page writes of it; called only for html.
    """

    model: str
    info: dict[str, Any]
    tensors: dict[str, Tensor]
    strings: dict[str, list[str]]
    tensors_in_json: bool
    draw: Callable[[], NDArray[np.uint8]] | None
    page: Callable[[], Mapping[str, Any]]


def encode(contents: Sequence[Contents], several: bool, format: Format) -> tuple[str, list[bytes]]:
    """Encode the answer to one request.

    Parameters
    ----------
    contents : sequence of Contents
        Of each input; at least one.
    several : bool
        Whether the answer is a list.
    format : str

    Returns
    -------
    str, list of bytes
        The content type, and the body in pieces.

    Raises
    ------
    RequestError
        If a picture is asked for and there is none.
    """
    encoders: dict[Format, Callable[[Sequence[Contents], bool], list[bytes]]] = {
        "gzip": _gzip,
        "safetensors": _safetensors,
        "npz": _npz,
        "json": _json,
        "png": _png,
        "html": _html,
    }
    content_type = next(kind for kind, name in CONTENT_TYPES.items() if name == format)
    return content_type, encoders[format](contents, several)


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


def _gzip(contents: Sequence[Contents], several: bool) -> list[bytes]:
    held = [{**one.tensors, **one.strings, "info": one.info} for one in contents]
    chunks = _Chunks()
    # Level 1 of ISA-L: gradients hardly compress, and level 9 of zlib takes 20 times as long for the same size.
    # mtime=0, so that equal answers are equal bytes.
    with igzip.IGzipFile(fileobj=chunks, mode="wb", compresslevel=1, mtime=0) as file:
        torch.save({"answers": held} if several else held[0], file)
    return chunks.finish()


def _flat(contents: Sequence[dict[str, Any]], several: bool) -> dict[str, Any]:
    """Return one dictionary of all, the place in the list before each name where there are several."""
    if not several:
        return contents[0]
    return {f"{place}.{name}": value for place, content in enumerate(contents) for name, value in content.items()}


def _safetensors(contents: Sequence[Contents], several: bool) -> list[bytes]:
    metadata = _flat([{"info": json.dumps(one.info)} for one in contents], several)
    tensors = _flat([one.tensors for one in contents], several)
    # The library copies them three times. Where it finds no memory it ends the process; Python, asked first, raises.
    bytearray(3 * sum(tensor.nbytes for tensor in tensors.values()))
    saved = save_safetensors(tensors, metadata)
    return _in_order(saved) if several else [saved]


def _in_order(saved: bytes) -> list[bytes]:
    """Return a file of safetensors with the names in its header in order, which the library leaves to chance."""
    size = int.from_bytes(saved[:8], "little")
    header = json.loads(saved[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % 8)
    return [len(ordered).to_bytes(8, "little") + ordered, saved[8 + size :]]


def _npz(contents: Sequence[Contents], several: bool) -> list[bytes]:
    arrays = [
        {name: tensor.numpy() for name, tensor in one.tensors.items()}
        | {name: np.array(strings, dtype=np.str_) for name, strings in one.strings.items()}
        | {"info": np.array(json.dumps(one.info))}
        for one in contents
    ]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_flat(arrays, several))
    return [buffer.getvalue()]


def _json(contents: Sequence[Contents], several: bool) -> list[bytes]:
    told = [
        one.info | ({name: t.tolist() for name, t in one.tensors.items()} if one.tensors_in_json else {})
        for one in contents
    ]
    content = {"answers": told} if several else told[0]
    return [json.dumps(content, ensure_ascii=False, allow_nan=False).encode()]


def _png(contents: Sequence[Contents], several: bool) -> list[bytes]:
    draw = contents[0].draw
    if several or draw is None:
        raise RequestError("there is no picture of this; ask for `format` html", "format")
    return [to_png(draw(), json.dumps(contents[0].info))]


def _html(contents: Sequence[Contents], several: bool) -> list[bytes]:  # noqa: ARG001
    return [page(contents[0].model, [one.page() for one in contents]).encode()]
