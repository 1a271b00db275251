"""gRPC: small answers come, large ones are refused in words, and nothing that is asked for hangs a worker.

TorchServe's gRPC knows no status of an answer: an error comes as the JSON that it is over HTTP.
"""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import grpc
import pytest
from intgrads.serving.torchserve import TorchServe
from shared.faults import PICTURE, expected, the_worker
from shared.grpc_client import Client, connected
from shared.toys import encoded, pixels

pytestmark = pytest.mark.server

SMALL = {"data": PICTURE, "n_steps": b"2", "format": b"json"}
LARGE = {"data": PICTURE, "n_steps": b"200"}


def assert_too_large(answer: bytes) -> None:
    error = json.loads(answer)
    assert (error["code"], error["type"]) == (413, "AnswerTooLarge")
    assert "gRPC carries 4 MB; ask over HTTP" in error["message"]


@pytest.fixture
def client(faulty: TorchServe) -> Iterator[Client]:
    """Connect; afterwards the worker must be the same, and answer over HTTP."""
    worker = the_worker(faulty, "small")
    with connected(faulty) as made:
        yield made
    assert expected(faulty, "small")
    assert the_worker(faulty, "small") == worker


def test_a_small_answer_is_the_same_as_over_http(client: Client, faulty: TorchServe) -> None:
    assert json.loads(client.predict("small", **SMALL)) == expected(faulty, "small")


def test_one_part_alone_is_a_body(client: Client) -> None:
    assert client.predict("small", data=PICTURE).startswith(b"\x1f\x8b")


@pytest.mark.parametrize(
    ("body", "kind"), [(b'{"img_data": 5}', "BadRequest"), (b"", "EmptyBody"), (b"no picture", "NotAPicture")]
)
def test_what_is_wrong_is_told(body: bytes, kind: str, client: Client) -> None:
    error = json.loads(client.predict("small", data=body))
    assert error["type"] == kind
    assert error["message"]


def test_a_large_picture_is_taken(client: Client) -> None:
    """The limit of 4 MB that gRPC has by itself is not that of requests."""
    noise = encoded(pixels(1400, 1400))
    assert len(noise) > 5_000_000
    answer = json.loads(client.predict("small", data=noise, n_steps=b"2", format=b"json"))
    assert answer["picture_size"] == [1400, 1400]


@pytest.mark.parametrize("format", [b"gzip", b"safetensors", b"npz"])
def test_a_large_answer_is_refused_with_what_to_do(format: bytes, client: Client) -> None:
    assert_too_large(client.predict("small", **LARGE, format=format))


def test_an_answer_that_is_streamed_comes_in_one_part(client: Client, faulty: TorchServe) -> None:
    (answer,) = client.stream("small", **SMALL)
    assert json.loads(answer) == expected(faulty, "small")
    (refused,) = client.stream("small", **LARGE)
    assert_too_large(refused)


def test_streams_both_ways_are_refused(client: Client) -> None:
    with pytest.raises(grpc.RpcError):
        client.stream_both_ways("small", SMALL, SMALL)


def test_many_at_once_good_and_bad(client: Client, faulty: TorchServe) -> None:
    calls = [(client.predict, client.stream)[turn % 2] for turn in range(24)]
    asks = [LARGE if turn % 3 == 2 else SMALL for turn in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda call, ask: call("small", **ask), calls, asks))
    for answer, ask in zip(answers, asks, strict=True):
        whole = answer if isinstance(answer, bytes) else b"".join(answer)
        if ask is LARGE:
            assert_too_large(whole)
        else:
            assert json.loads(whole) == expected(faulty, "small")


def test_a_model_that_there_is_not(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        client.predict("nothing", **SMALL)
    assert "Model not found: nothing" in str(raised.value)


def test_http_without_a_host_is_answered_as_well(faulty: TorchServe) -> None:
    """HTTP/1.0 needs none; what TorchServe wants to be told of gRPC's streams would leave it without an answer."""
    connection = HTTPConnection("127.0.0.1", faulty.ports["inference_address"], timeout=60)
    connection.putrequest("POST", "/predictions/small", skip_host=True)
    for name, value in (
        ("Content-Type", "image/png"),
        ("Accept", "application/json"),
        ("Content-Length", len(PICTURE)),
    ):
        connection.putheader(name, str(value))
    connection.endheaders(PICTURE)
    with contextlib.closing(connection):
        reply = connection.getresponse()
        assert reply.status == 200
        assert json.loads(reply.read())["evaluations"] == 22
