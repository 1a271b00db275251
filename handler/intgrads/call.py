"""What a server hands over and gets back: a request as it came, and the reply to it. Whatever server that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from intgrads.errors import RequestError

PIECE = 4 * 1024 * 1024
"""Bytes of one piece of an answer. One buffer of 300 MB takes TorchServe 20 s, the same in pieces 2 s."""


MOST_BYTES = 100 * 2**20
"""Of a request's body, as in config.properties."""


@dataclass(frozen=True)
class Limit:
    """The largest answer that a caller's way of asking can carry.

    Attributes
    ----------
    size : int
        Bytes.
    remedy : str
        Why, and how to ask instead; part of an error's message.
    """

    size: int
    remedy: str


@dataclass(frozen=True)
class Call:
    """One request as a server hands it over.

    Attributes
    ----------
    body : bytes, or what JSON decodes to, or None
        Of a request that is no form. A server that decodes JSON by itself hands over what it made of it.
    form : mapping of str to bytes or str, or None
        The parts of a form by their names.
    content_type, accept : str
        Headers of these names; empty where there are none.
    limit : Limit or None
    gone : callable
        Whether its client has gone by now, so that nobody waits for the answer.
    """

    body: Any = None
    form: Mapping[str, bytes | str] | None = None
    content_type: str = ""
    accept: str = ""
    limit: Limit | None = None
    gone: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Account:
    """What became of a request, for logs and metrics; nothing of its contents.

    Attributes
    ----------
    outcome : str
        ``answered``, or the kind of the error.
    format : str or None
        Of an answer.
    seconds : float
        From reading its batch to its encoded answer.
    computing : float
        Seconds that the network computed for its batch.
    encoding : float
        Seconds that its answer took to be made of what was computed.
    evaluations : int
        Points at which the network was computed for it.
    attribution_error : float or None
        The largest of its maps' estimated errors.
    size : int
        Bytes of the reply.
    together : int
        Requests in its batch.
    """

    outcome: str
    format: str | None = None
    seconds: float = 0.0
    computing: float = 0.0
    encoding: float = 0.0
    evaluations: int = 0
    attribution_error: float | None = None
    size: int = 0
    together: int = 1


@dataclass(frozen=True)
class Reply:
    """What the server sends.

    Attributes
    ----------
    status : int
        Of HTTP.
    content_type : str
    body : list of bytes
        In pieces, so that a large one need not be held twice; at least one.
    headers : dict of str to str
    account : Account
    """

    status: int
    content_type: str
    body: list[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    account: Account = Account("answered")

    @classmethod
    def of_error(cls, error: RequestError) -> Reply:
        """Return the reply that tells of an error."""
        return cls(error.status, "application/json", [error.to_json()], account=Account(error.kind))

    @classmethod
    def not_loaded(cls, failure: str) -> Reply:
        """Return the reply to every request of an archive that could not be loaded."""
        message = f"the model failed to load ({failure}); mend the archive or its environment and restart"
        return cls.of_error(RequestError(message, kind="ModelNotLoaded"))


def pieces(body: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a body into pieces of :data:`PIECE` bytes at most; at least one."""
    empty = True
    for part in body:
        for start in range(0, len(part), PIECE):
            empty = False
            yield part[start : start + PIECE]
    if empty:
        yield b""
