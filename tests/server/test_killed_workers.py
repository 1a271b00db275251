"""A worker that is killed costs the one request that it computed, which is told so; another worker takes its place."""

import os
import signal
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from intgrads.serving.torchserve import TorchServe
from shared.faults import (
    LARGE,
    LARGE_BYTES,
    LONG,
    QUICK,
    clients,
    expected,
    stopped,
    the_worker,
    wait_for_another_worker,
    wait_until_computing,
)
from shared.serving import post

pytestmark = pytest.mark.server


def test_killed_in_mid_request(faulty: TorchServe) -> None:
    """Those that waited behind it are answered by the worker that comes after."""
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    with clients(faulty, "other") as strangers, ThreadPoolExecutor(7) as pool:
        lost = pool.submit(post, faulty, "small", **LONG)
        wait_until_computing(worker)
        waiting = [pool.submit(post, faulty, "small", **QUICK) for _ in range(6)]
        os.kill(worker, signal.SIGKILL)
        assert lost.result().status_code in (500, 503, 507)
        assert lost.result().json()["message"]
        assert [one.result().json() for one in waiting] == [before] * 6
        wait_for_another_worker(faulty, "small", worker)
    assert expected(faulty, "small") == before
    assert not strangers.refusals
    assert not strangers.unanswered


def test_killed_in_mid_answer(faulty: TorchServe) -> None:
    """Half an answer is never taken for a whole one: the connection breaks."""
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    reply = requests.post(f"{faulty.url}/predictions/small", stream=True, timeout=60, **LARGE)
    parts = reply.iter_content(1 << 16)
    assert len(next(parts)) < LARGE_BYTES
    with stopped(worker):
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(requests.RequestException):
            deque(parts)
    wait_for_another_worker(faulty, "small", worker)
    assert expected(faulty, "small") == before
