"""Clients that hang up, or read or send a little at a time, harm nobody else."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
import requests
from intgrads.serving.torchserve import TorchServe
from safetensors.torch import load
from shared.faults import LARGE, LONG, QUICK, expected, the_worker, wait_until_computing

pytestmark = pytest.mark.server

FEW = 1024
"""Bytes that a slow client takes or gives a time."""


def raw(server: TorchServe, ask: dict[str, Any]) -> bytes:
    """Return a request as it is sent."""
    made = requests.Request("POST", f"{server.url}/predictions/small", **ask).prepare()
    assert isinstance(made.body, bytes)
    head = [f"POST {made.path_url} HTTP/1.1", f"Host: {server.url.removeprefix('http://')}"]
    head += [f"{name}: {value}" for name, value in made.headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + made.body


@contextlib.contextmanager
def connected(server: TorchServe) -> Iterator[socket.socket]:
    """Connect, with a buffer that holds little of an answer."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * FEW)
        client.settimeout(120)
        client.connect(("127.0.0.1", server.ports["inference_address"]))
        yield client


def reply_to(client: socket.socket) -> HTTPResponse:
    """Read the head of an answer."""
    reply = HTTPResponse(client)
    reply.begin()
    assert reply.status == 200
    return reply


def test_one_that_reads_slowly_gets_all_of_it_and_keeps_nobody_waiting(faulty: TorchServe) -> None:
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    with connected(faulty) as client:
        client.sendall(raw(faulty, LARGE))
        reply = reply_to(client)
        got = bytearray()
        for _ in range(5):
            got += reply.read(FEW)
            assert expected(faulty, "small") == before
            time.sleep(0.5)
        assert len(got) == 5 * FEW
        got += reply.read()
    assert load(bytes(got))["intermediates"].shape == (1000, 3, 64, 64)
    assert the_worker(faulty, "small") == worker


def test_one_that_sends_slowly_keeps_nobody_waiting(faulty: TorchServe) -> None:
    before, request = expected(faulty, "small"), raw(faulty, QUICK)
    part = len(request) // 5
    with connected(faulty) as client:
        for start in range(0, len(request), part):
            assert expected(faulty, "small") == before
            client.sendall(request[start : start + part])
        assert json.load(reply_to(client)) == before


def test_those_that_hang_up_leave_the_worker_as_it_was(faulty: TorchServe) -> None:
    """Before the request is whole, while it is computed, and in the middle of a large answer."""
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    with connected(faulty) as client:
        client.sendall(raw(faulty, LARGE)[:-500])
    with connected(faulty) as client:
        client.sendall(raw(faulty, LONG))
        wait_until_computing(worker)
    for _ in range(3):
        with connected(faulty) as client:
            client.sendall(raw(faulty, LARGE))
            assert reply_to(client).read(FEW)
    assert expected(faulty, "small") == before
    assert the_worker(faulty, "small") == worker
