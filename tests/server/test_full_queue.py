"""A queue that is full refuses at once, with 503, what it has no room for; all that it took is answered."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from intgrads.serving.torchserve import TorchServe
from shared.faults import QUICK, expected, stopped, the_worker, wait_until
from shared.serving import post

pytestmark = pytest.mark.server

AT_ONCE, QUEUE = 150, 100


def test_150_at_once_on_a_queue_of_100(faulty: TorchServe) -> None:
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        with stopped(worker):
            asked = [pool.submit(post, faulty, "small", **QUICK) for _ in range(AT_ONCE)]
            # One is with the worker.
            wait_until(lambda: sum(one.done() for one in asked) >= AT_ONCE - QUEUE - 1, "what has no room is refused")
            assert expected(faulty, "other")
        replies = [one.result() for one in asked]
    statuses = [reply.status_code for reply in replies]
    assert (statuses.count(200), statuses.count(503)) == (QUEUE + 1, AT_ONCE - QUEUE - 1)
    assert all(reply.json() == before for reply in replies if reply.status_code == 200)
    assert all(reply.json()["message"] for reply in replies if reply.status_code == 503)
    assert expected(faulty, "small") == before
    assert the_worker(faulty, "small") == worker
