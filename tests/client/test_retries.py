"""A busy server is asked again, a while later; what will stay wrong is not."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from intgrads.client import AsyncClient, Client, RefusedError
from shared.transports import BUSY, Replies, error

GOOD = (200, b"answer")

Ask = Callable[..., bytes]


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses, which are not made."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(asyncio, "sleep", pause)
    return pauses


def ask(replies: Replies, **how: Any) -> bytes:
    with Client(transport=replies.transport, **how) as client:
        return client.ask(text="good", format="json")


def ask_by_asyncio(replies: Replies, **how: Any) -> bytes:
    async def once() -> bytes:
        async with AsyncClient(transport=replies.transport, **how) as client:
            return await client.ask(text="good", format="json")

    return asyncio.run(once())


both = pytest.mark.parametrize("ask", [ask, ask_by_asyncio])


@both
@pytest.mark.parametrize("busy", [BUSY, (503, b""), (429, b"<html>slow down</html>")])
def test_a_busy_server_is_asked_until_it_answers(ask: Ask, busy: Any, paused: list[float]) -> None:
    replies = Replies(busy, busy, busy, GOOD)
    assert ask(replies) == b"answer"
    assert len(replies.asked) == 4
    assert len(paused) == 3
    assert len({request.content for request in replies.asked}) == 1


@both
def test_pauses_grow_and_differ(ask: Ask, paused: list[float]) -> None:
    with pytest.raises(RefusedError, match="the queue is full"):
        ask(Replies(BUSY), retries=12)
    assert len(paused) == 12
    assert max(paused) <= 12
    assert paused[0] < 1 < min(paused[5:])
    assert len(set(paused)) == 12


@both
@pytest.mark.parametrize("retries", [0, 3])
def test_it_is_given_up_in_the_end(ask: Ask, retries: int, paused: list[float]) -> None:
    replies = Replies(BUSY)
    with pytest.raises(RefusedError, match="the queue is full") as caught:
        ask(replies, retries=retries)
    assert caught.value.status == 503
    assert len(replies.asked) == retries + 1
    assert len(paused) == retries


@both
@pytest.mark.parametrize(
    "reply",
    [
        error(503, "ModelNotLoaded", "the model failed to load"),
        error(400, "BadRequest"),
        error(404, "ModelNotFoundException"),
        error(500, "InternalServerException", "Worker died."),
        (413, b""),
    ],
)
def test_what_stays_wrong_is_not_asked_again(ask: Ask, reply: Any, paused: list[float]) -> None:
    replies = Replies(reply, GOOD)
    with pytest.raises(RefusedError):
        ask(replies)
    assert len(replies.asked) == 1
    assert paused == []
