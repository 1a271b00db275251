"""What can go wrong when a server is asked: it is not reached, or it refuses."""

from __future__ import annotations

import json
from http.client import responses

PASSING = (429, 503)
"""Statuses after which the same request may be answered later: the server is busy."""

LASTING = ("ModelNotLoaded",)
"""Types of errors that stay, whatever their status."""

WITHOUT_WORDS = {
    401: "the server asks for a key; give it as `key`",
    413: "the request is larger than the server takes; send a smaller picture",
    429: "too many requests at once; wait, or ask fewer at a time",
    502: "a proxy reached no server",
    504: "a proxy waited too long; ask for less, such as a larger `tolerance`",
}
"""What a status means that came without a message."""


class ClientError(Exception):
    """No answer; the message says why."""


class NotReachedError(ClientError):
    """The server was not reached, or the connection broke off."""


class RefusedError(ClientError):
    """The server answered with an error.

    Attributes
    ----------
    status : int
        Of HTTP.
    type : str
        A stable word to branch on, as ``BadRequest``; empty where something before the server refused.
    message : str
        What is wrong and what to send instead.
    field : str or None
        Of the request, where one is at fault.
    """

    def __init__(self, status: int, type: str, message: str, field: str | None = None) -> None:
        named = f"{field}: {message}" if field else message
        super().__init__(f"{named} ({' '.join(filter(None, (str(status), type)))})")
        self.status, self.type, self.message, self.field = status, type, message, field

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status in PASSING and self.type not in LASTING

    @classmethod
    def read(cls, status: int, body: bytes) -> RefusedError:
        """Return the error that a reply tells: the server's own JSON, or what a proxy or TorchServe sent instead."""
        try:
            told = json.loads(body)
            return cls(status, str(told["type"]), str(told["message"]), told.get("field"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(status, "", WITHOUT_WORDS.get(status) or responses.get(status, "no reason given"))
