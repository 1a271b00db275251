"""Workers come and go, models are taken away, servers stop and start while clients ask: no answer is a wrong one."""

from pathlib import Path

import pytest
import requests
from intgrads.serving.torchserve import TorchServe, free_ports
from shared.faults import clients, expected, ready, wait_until

pytestmark = pytest.mark.server


def scale(server: TorchServe, workers: int) -> None:
    url = f"{server.management_url}/models/small?min_worker={workers}&max_worker={workers}&synchronous=true"
    assert requests.put(url, timeout=240).status_code == 200
    wait_until(lambda: len(ready(server, "small")) == workers, f"{workers} workers")


def test_from_one_worker_to_three_and_back(faulty: TorchServe) -> None:
    """Workers that come lose nothing.

    TorchServe ends workers at once, also those that compute: each may lose the one request that it has.
    """
    before = expected(faulty, "small")
    with clients(faulty, "small") as got:
        scale(faulty, 3)
        answered = len(got.answers)
        wait_until(lambda: len(got.answers) > answered + 20, "three workers answer")
        assert not got.refusals
        scale(faulty, 1)
        answered = len(got.answers)
        wait_until(lambda: len(got.answers) > answered + 8, "one worker answers")
    assert len(got.refusals) <= 2
    assert all(status == 500 and "Worker died." in text for status, text in got.refusals)
    assert not got.unanswered
    assert all(answer == before for answer in got.answers)


@pytest.mark.slow
def test_a_model_is_taken_away_and_comes_back(faulty: TorchServe) -> None:
    """Its clients are told so, those of another are not touched, and it is served again when it is back.

    TorchServe forgets the requests that wait for a model as it goes: each of these clients may lose one.
    """
    before, of_other = expected(faulty, "small"), expected(faulty, "other")
    with clients(faulty, "small", 4, patience=20) as got, clients(faulty, "other", 2) as strangers:
        assert requests.delete(f"{faulty.management_url}/models/small", timeout=120).status_code == 200
        wait_until(lambda: any(status == 404 for status, _ in got.refusals), "it is not known any more")
        back = {"url": "small.mar", "initial_workers": "1", "synchronous": "true"}
        assert requests.post(f"{faulty.management_url}/models", params=back, timeout=240).status_code == 200
        answered = len(got.answers)
        wait_until(lambda: len(got.answers) > answered + 8, "it answers again")
    assert {status for status, _ in got.refusals} <= {404, 500, 503, 507}
    assert len(got.unanswered) <= 4
    assert all(answer == before for answer in got.answers)
    assert not strangers.refusals
    assert not strangers.unanswered
    assert all(answer == of_other for answer in strangers.answers)


@pytest.mark.slow
def test_a_second_server_on_the_machine_restarts_under_load(faulty: TorchServe, tmp_path: Path) -> None:
    """Its clients see connections fail while it is away, and nothing else; those of the first one see nothing."""
    before = expected(faulty, "small")
    second = TorchServe(tmp_path, free_ports(5), ["small.mar"], faulty.directory / "model_store")
    with second.running_until_left(), clients(faulty, "small", 2) as strangers, clients(second, "small", 2) as got:
        assert second.stop()
        second.start()
        second.wait_until_ready()
        answered = len(got.answers)
        wait_until(lambda: len(got.answers) > answered + 8, "it answers again")
    assert all(answer == before for answer in got.answers)
    assert {status for status, _ in got.refusals} <= {404, 500, 503, 507}
    assert got.unanswered
    assert not strangers.refusals
    assert not strangers.unanswered
    assert all(answer == before for answer in strangers.answers)
