"""Work is known before it is done: what cannot be done in time is refused at once, and says what could be."""

import re
from typing import Any

import pytest
from intgrads import service as module
from intgrads.call import Call, Reply
from shared.toys import call, encoded, pixels, refused, small_network, small_service

CAT = encoded(pixels())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a service whose network is said to take a second for each gradient, and that counts its passes."""
    passes: list[int] = []
    network = small_network().eval()
    monkeypatch.setattr(module, "seconds_of_a_gradient", lambda *_: 1.0)
    service = small_service(network, response_timeout=30)
    network.register_forward_hook(lambda *_: passes.append(1))
    return service, passes


def ask(service: Any, *calls: Call) -> list[Reply]:
    replies: list[Reply] = service.answer(list(calls))
    return replies


def test_it_is_refused_before_any_pass(slow: Any) -> None:
    service, passes = slow
    (reply,) = ask(service, call(data=CAT, n_steps="50"))
    error = refused(reply, 413, "would take at least 5")
    assert error["type"] == "TooMuchWork"
    assert float(reply.headers["X-Intgrads-Estimate"]) >= 50
    assert not passes


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"verify": "true"},
        {"baseline": "black,white,blur"},
        {"target_class": "[0, 1, 2]"},
        {"method": "riemann_trapezoid"},
    ],
)
def test_what_is_said_to_do_does(slow: Any, more: dict[str, str]) -> None:
    """It is well within the time: an estimate is the least that a request takes."""
    service, _ = slow
    service.settings = service.settings.model_copy(update={"response_timeout": 200})
    (reply,) = ask(service, call(data=CAT, n_steps="500", **more))
    steps = re.search(r"about (\d+) n_steps would do", refused(reply, 413, "would do")["message"])
    assert steps is not None
    (reply,) = ask(service, call(data=CAT, n_steps=steps[1], format="json", **more))
    assert reply.status == 200
    assert float(reply.headers["X-Intgrads-Estimate"]) <= 100


def test_fewer_steps_are_not_advised_where_they_do_not_help(slow: Any) -> None:
    service, _ = slow
    (reply,) = ask(service, call(data=CAT, n_steps="500", groups="superpixels", n_superpixels="40", verify="true"))
    assert "would do" not in refused(reply, 413, "leave `verify` out")["message"]


def test_a_pace_that_was_learned_while_the_machine_stood_still_is_measured_again(slow: Any) -> None:
    service, _ = slow
    service._pace._lately.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "seconds_of_a_gradient", lambda *_: 60.0)
        refused(ask(service, call(data=CAT, n_steps="5"))[0], 413, "at least 300 s")
    (reply,) = ask(service, call(data=CAT, n_steps="5", format="json"))
    assert reply.status == 200
    assert float(reply.headers["X-Intgrads-Estimate"]) == pytest.approx(5)


@pytest.mark.parametrize(
    "more",
    [
        {"target_class": "[0, 1, 2]"},
        {"baseline": '["black", "white", "blur"]'},
        {"verify": "true"},
    ],
)
def test_targets_baselines_and_verification_count(slow: Any, more: dict[str, str]) -> None:
    service, _ = slow
    refused(ask(service, call(data=CAT, n_steps="20", **more))[0], 413, "would take at least")
    assert ask(service, call(data=CAT, n_steps="20", format="json"))[0].status == 200


def test_the_others_of_its_batch_are_answered(slow: Any) -> None:
    service, _ = slow
    long, short, again = ask(
        service, call(data=CAT, n_steps="50"), call(data=CAT, n_steps="8"), call(data=CAT, n_steps="8")
    )
    refused(long, 413, "at least")
    assert short.status == again.status == 200


def test_requests_of_a_batch_share_its_time(slow: Any) -> None:
    service, _ = slow
    statuses = [reply.status for reply in ask(service, *[call(data=CAT, n_steps="12", format="json")] * 3)]
    assert sorted(statuses) == [200, 200, 413]


def test_it_learns_how_fast_the_network_is(slow: Any) -> None:
    service, _ = slow
    refused(ask(service, call(data=CAT, n_steps="50"))[0], 413, "at least")
    assert ask(service, call(data=CAT, n_steps="20", format="json"))[0].status == 200
    assert ask(service, call(data=CAT, n_steps="50", format="json"))[0].status == 200
