"""What stands for a server where a client is tested: a service in this process, or replies that were thought out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx
from intgrads.call import Call
from intgrads.service import Service


def serving(service: Service[Any]) -> httpx.MockTransport:
    """Return a transport that lets a service answer."""

    def reply(request: httpx.Request) -> httpx.Response:
        call = Call(json.loads(request.content), content_type=request.headers["content-type"])
        answer = service.answer([call])[0]
        return httpx.Response(
            answer.status, headers={"content-type": answer.content_type}, content=b"".join(answer.body)
        )

    return httpx.MockTransport(reply)


Reply = tuple[int, bytes] | Exception


class Replies:
    """Replies in turn, the last one again and again, and what was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[httpx.Request] = []

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply[0], content=reply[1])


def error(status: int, type: str, message: str = "no", field: str | None = None) -> Reply:
    """Return an error as the server tells it."""
    return status, json.dumps({"code": status, "type": type, "message": message, "field": field}).encode()


BUSY = error(503, "ServiceUnavailableException", "the queue is full")


def contents(requests: Iterable[httpx.Request]) -> list[Any]:
    """Return what requests hold."""
    return [json.loads(request.content) for request in requests]
