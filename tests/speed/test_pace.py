"""What work takes is foretold from what it took lately: the fastest of it, and in proportion to the input's size."""

import pytest
import torch
from intgrads.speed.pace import FORWARD, REMEMBERED, Pace, seconds_of_a_gradient, work_of_a_point
from shared.toys import small_network


def test_nothing_is_foretold_of_what_is_not_known() -> None:
    pace = Pace()
    assert not pace.knows("a")
    assert pace.foretell("a", 10, 1000) == 0
    pace.learn("b", 10, 1, 1)
    assert not pace.knows("a")


def test_the_fastest_of_the_last_few_counts() -> None:
    pace = Pace()
    pace.learn("a", 10, 4, 2.0)
    pace.learn("a", 10, 4, 8.0)
    assert pace.foretell("a", 10, 100) == pytest.approx(50)
    for _ in range(REMEMBERED):
        pace.learn("a", 10, 4, 8.0)
    assert pace.foretell("a", 10, 100) == pytest.approx(200)


def test_a_size_that_was_not_seen_takes_its_part_of_the_nearest() -> None:
    pace = Pace()
    pace.learn("a", 100, 1, 1.0)
    pace.learn("a", 1000, 1, 4.0)
    assert pace.foretell("a", 200, 3) == pytest.approx(6)
    assert pace.foretell("a", 2000, 3) == pytest.approx(24)


def test_work_is_a_forward_pass_and_a_backward_pass_for_each_target() -> None:
    assert work_of_a_point(1) == pytest.approx(1)
    assert work_of_a_point(20) == pytest.approx(FORWARD + 20 * (1 - FORWARD))


def test_a_gradient_is_timed_on_the_network_itself() -> None:
    calls = []
    network = small_network().eval().requires_grad_(False)
    network.register_forward_hook(lambda *_: calls.append(1))
    assert seconds_of_a_gradient(network, (3, 8, 10), torch.device("cpu")) > 0
    assert len(calls) == 2
