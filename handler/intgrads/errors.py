"""What a caller, or the maker of an archive, did wrong, in their own words.

Everything that refuses a request raises :class:`RequestError`; the service turns it into the JSON error
``{"code", "type", "message", "field"}``. Nothing else in the package knows about HTTP status codes.
"""

from __future__ import annotations

import json


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
    code : int, default 400
        HTTP status, 400 to 599.
    type : str, default "BadRequest"
        A stable word for programs to branch on.
    """

    def __init__(self, message: str, field: str | None = None, *, code: int = 400, type: str = "BadRequest") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.code = code
        self.type = type

    def to_json(self) -> bytes:
        """Encode the error as the JSON body that the caller receives."""
        body = {"code": self.code, "type": self.type, "message": self.message, "field": self.field}
        # A caller's text may hold lone surrogates, which no UTF-8 can carry.
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
