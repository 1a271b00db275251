"""A worker that hangs, or computes for too long, is found out: its client is told, and the server serves on."""

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from intgrads.serving.torchserve import TorchServe
from shared.faults import LONG, QUICK, clients, expected, stopped, the_worker, wait_for_another_worker
from shared.serving import post

pytestmark = pytest.mark.server


def test_past_its_time_a_request_is_refused_and_the_worker_goes_on(faulty: TorchServe) -> None:
    worker = the_worker(faulty, "impatient")
    before = expected(faulty, "impatient")
    longer = {**LONG, "data": LONG["data"] | {"target_class": str([0, 1, 2] * 6)}}
    reply = post(faulty, "impatient", **longer)
    assert (reply.status_code, reply.json()["type"]) == (413, "TooMuchWork")
    assert expected(faulty, "impatient") == before
    assert the_worker(faulty, "impatient") == worker


def test_stopped_for_a_moment_it_answers_later(faulty: TorchServe) -> None:
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    with ThreadPoolExecutor(4) as pool:
        with stopped(worker):
            waiting = [pool.submit(post, faulty, "small", **QUICK) for _ in range(4)]
            assert expected(faulty, "other")
            assert not any(one.done() for one in waiting)
        assert [one.result().json() for one in waiting] == [before] * 4
    assert the_worker(faulty, "small") == worker


@pytest.mark.slow
def test_stopped_for_good_it_is_replaced(faulty: TorchServe) -> None:
    """TorchServe gives up on it after the archive's ``responseTimeout``."""
    before, worker = expected(faulty, "impatient"), the_worker(faulty, "impatient")
    with clients(faulty, "other", 2) as strangers, stopped(worker), ThreadPoolExecutor(4) as pool:
        lost = pool.submit(post, faulty, "impatient", **QUICK)
        waiting = [pool.submit(post, faulty, "impatient", **QUICK) for _ in range(3)]
        replies = [one.result() for one in (lost, *waiting)]
        wait_for_another_worker(faulty, "impatient", worker)
        assert not psutil.pid_exists(worker)
    assert sorted(reply.status_code for reply in replies) == [200, 200, 200, 500]
    assert all(reply.json() == before for reply in replies if reply.status_code == 200)
    assert expected(faulty, "impatient") == before
    assert not strangers.refusals
    assert not strangers.unanswered
