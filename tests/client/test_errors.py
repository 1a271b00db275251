"""Whatever goes wrong on the way is a ClientError that says what to do."""

import socket
from typing import Any

import httpx
import pytest
from intgrads.client import Client, ClientError, NotReachedError, RefusedError
from shared.transports import Replies, error


def ask(reply: Any) -> bytes:
    with Client("http://there", transport=Replies(reply).transport, retries=0) as client:
        return client.ask(text="good", format="json")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (error(404, "ModelNotFoundException", "Model not found: nope"), r"Model not found: nope \(404 ModelNotFound"),
        (
            error(400, "BadRequest", "must be at least 1", "n_steps"),
            r"^n_steps: must be at least 1 \(400 BadRequest\)$",
        ),
        ((413, b""), r"larger than the server takes; send a smaller picture \(413\)"),
        ((401, b"<html>"), "give it as `key`"),
        ((502, b"<html>Bad Gateway</html>"), "a proxy reached no server"),
        ((403, b""), r"Forbidden \(403\)"),
        ((500, b'{"code": 500}'), r"Internal Server Error \(500\)"),
        ((500, b"[]"), r"Internal Server Error \(500\)"),
        ((302, b""), r"Found \(302\)"),
        ((599, b"\xff"), r"no reason given \(599\)"),
    ],
)
def test_a_refusal_is_told_in_words(reply: Any, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        ask(reply)
    assert str(caught.value.status) in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectTimeout("timed out"), "no server at http://there"),
        (httpx.ReadTimeout("timed out"), "did not answer in time; give a longer `timeout`"),
        (httpx.ReadError(""), r"broke off \(ReadError\)"),
        (httpx.RemoteProtocolError("peer closed"), r"broke off \(peer closed\)"),
    ],
)
def test_a_connection_that_fails_is_told(failure: Exception, words: str) -> None:
    with pytest.raises(NotReachedError, match=words):
        ask(failure)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "127.0.0.1:8080", "ftp://there", "http://[", "http://there:x"]
)
def test_a_url_where_no_server_is(url: str) -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        url = url.format(port=bound.getsockname()[1])
        with (
            Client(url) as client,
            pytest.raises(NotReachedError, match=r"no server at .*; start one, or give its URL"),
        ):
            client.attribute(text="good")


@pytest.mark.parametrize("raw", [b"", b"<html>hello</html>", b"{}", b"\x00" * 100])
def test_an_answer_of_another_server_is_none(raw: bytes) -> None:
    with Client(transport=Replies((200, raw)).transport) as client, pytest.raises(ClientError, match="is no answer"):
        client.attribute(text="good")
