"""What is sent to a server, and what is read of its reply: the same for both clients, whichever way they wait."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intgrads.client.errors import ClientError, NotReachedError, RefusedError

Source = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]
"""A picture or a text: a file's path, the bytes of a file, a picture of Pillow, or its pixels (H, W, 3)."""

FAILURES = (httpx.HTTPError, httpx.InvalidURL)
"""What httpx raises where a connection fails."""

DESCRIBE = {"describe": "True"}
"""The header by which an archive is asked to describe itself, in a request without a body."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a busy server is asked again."""


def body(source: Source | None, text: str | None, options: Mapping[str, Any], format: str) -> bytes:
    """Return the JSON of a request.

    Raises
    ------
    ClientError
        If there is no input, or two, or a file cannot be read.
    TypeError
        If something is sent that no request can hold.
    """
    if (source is None) == (text is None):
        raise ClientError("give one input: a picture or a file, or `text`")
    sent = {"sequence": text} if source is None else _input(source)
    return json.dumps({**sent, **options, "format": format}, default=_plain).encode()


def _input(source: Source) -> dict[str, str]:
    """Return the field of a text, or that of a picture: what is no UTF-8 or has bytes of zero, as all pictures have.

    What is damaged goes to the server as well, which knows more and says what is wrong.
    """
    raw = _bytes(source)
    if not raw:
        raise ClientError("the input is empty")
    if b"\0" not in raw:
        with contextlib.suppress(UnicodeDecodeError):
            return {"sequence": raw.decode("utf-8-sig")}
    return {"image": base64.b64encode(raw).decode()}


def _bytes(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            raise ClientError(f"pixels must be uint8, from 0 to 255, not {source.dtype}")
        source = Image.fromarray(source)
    if isinstance(source, Image.Image):
        written = io.BytesIO()
        source.save(written, "png")
        return written.getvalue()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ClientError(f"{os.fspath(source)}: {error.strerror}; a text is given as `text`") from None


def _plain(value: object) -> Any:
    """Return as JSON what it does not know: arrays as lists, files and pictures in base64."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes | os.PathLike | Image.Image):
        return base64.b64encode(_bytes(value)).decode()
    raise TypeError(f"a request cannot hold {type(value).__name__}")


def answer(reply: httpx.Response) -> bytes:
    """Return the body of a reply.

    Raises
    ------
    RefusedError
        If it is an error.
    """
    if reply.status_code != httpx.codes.OK:
        raise RefusedError.read(reply.status_code, reply.content)
    return reply.content


def description(raw: bytes, url: str) -> dict[str, Any]:
    """Return an archive's description.

    Raises
    ------
    ClientError
        If it is none, or tells that the archive could not be loaded.
    """
    try:
        told = json.loads(raw)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not {"error", "fields"} & told.keys():
        raise ClientError(f"something else than our server answers at {url}")
    if "fields" not in told:
        raise ClientError(f"the archive could not be loaded: {told['error']}")
    return told


def not_reached(url: str, error: Exception) -> NotReachedError:
    """Return what a failure of the connection means: one of :data:`FAILURES`."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return NotReachedError(f"no server at {url} ({error}); start one, or give its URL")
    if isinstance(error, httpx.TimeoutException):
        return NotReachedError(f"{url} did not answer in time; give a longer `timeout`, or ask for less")
    return NotReachedError(f"the connection to {url} broke off ({str(error) or type(error).__name__}); ask again")


def pauses(retries: int) -> Iterator[float]:
    """Yield seconds to wait before each further try: longer each time, and at random, so that clients part."""
    for k in range(retries):
        yield min(FIRST_PAUSE * 2**k, LONGEST_PAUSE) * random.uniform(0.5, 1.5)
