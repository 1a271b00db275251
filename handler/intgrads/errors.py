"""What a caller, or the maker of an archive, did wrong, in their own words.

Everything that refuses a request raises :class:`RequestError` with a named kind; the service turns it into the JSON
error ``{"code", "type", "message", "field"}``. The table from kinds to HTTP statuses stands here and nowhere else.
"""

from __future__ import annotations

import json
import re
from typing import Literal

Kind = Literal[
    "BadRequest",
    "DamagedPicture",
    "EmptyBody",
    "EmptyText",
    "NoDetector",
    "NoPicture",
    "NoText",
    "NotAnObject",
    "NotJSON",
    "NotUTF8",
    "UnknownField",
    "NotAcceptable",
    "AnswerTooLarge",
    "GroupsTooLarge",
    "PictureTooLarge",
    "TextTooLong",
    "TooMuchWork",
    "AnotherKind",
    "ClientGone",
    "NotAPicture",
    "EmptyMask",
    "GroupsNotSeen",
    "NoSegments",
    "NotFinite",
    "NothingFound",
    "InternalError",
    "ModelNotLoaded",
    "OutOfMemory",
]
"""A stable word for programs to branch on; ``type`` of the JSON error."""

STATUS: dict[Kind, int] = {
    "NotAcceptable": 406,
    "AnswerTooLarge": 413,
    "GroupsTooLarge": 413,
    "PictureTooLarge": 413,
    "TextTooLong": 413,
    "TooMuchWork": 413,
    "AnotherKind": 415,
    "NotAPicture": 415,
    "EmptyMask": 422,
    "GroupsNotSeen": 422,
    "NoSegments": 422,
    "NotFinite": 422,
    "NothingFound": 422,
    "ClientGone": 499,
    "InternalError": 500,
    "ModelNotLoaded": 503,
    "OutOfMemory": 507,
}
"""HTTP status of each kind that is not simply a bad request, 400."""


PLACE = re.compile(r"(?<![\w.:/])/(?:[^\s/'\"]+/)+")
"""The folders before a file's name."""


def said(error: Exception) -> str:
    """Return what an error says to somebody elsewhere: which file it is about, and not where that lies."""
    return f"{type(error).__name__}: {PLACE.sub('', str(error))}"


class CheckpointError(Exception):
    """A checkpoint, or another ingredient of an archive, that cannot be used; the message says what to do."""


class RequestError(Exception):
    """A request that cannot be answered.

    Parameters
    ----------
    message : str
        What is wrong and what to send instead.
    field : str, optional
        Field of the request that is at fault; ``None`` where no single one is.
    kind : str, default "BadRequest"
    """

    def __init__(self, message: str, field: str | None = None, *, kind: Kind = "BadRequest") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.kind = kind

    @property
    def status(self) -> int:
        """HTTP status, 400 to 599."""
        return STATUS.get(self.kind, 400)

    def to_json(self) -> bytes:
        """Encode the error as the JSON body that the caller receives."""
        body = {"code": self.status, "type": self.kind, "message": self.message, "field": self.field}
        # A caller's text may hold lone surrogates, which no UTF-8 can carry.
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
