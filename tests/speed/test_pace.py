"""What work takes is foretold from what it took lately: the fastest of it, and in proportion to the input's size."""

import math
import time

import pytest
import torch
from intgrads.speed import pace
from intgrads.speed.pace import FORWARD, REMEMBERED, TOGETHER, Pace, seconds_of_a_gradient, work_of_a_point
from shared.toys import small_network
from torch import Tensor, nn


def test_nothing_is_foretold_of_what_is_not_known() -> None:
    known = Pace()
    assert not known.knows("a")
    assert known.foretell("a", 10, 1000) == 0
    known.learn("b", 10, 1, 1)
    assert not known.knows("a")


def test_the_fastest_of_the_last_few_counts() -> None:
    known = Pace()
    known.learn("a", 10, 4, 2.0)
    known.learn("a", 10, 4, 8.0)
    assert known.foretell("a", 10, 100) == pytest.approx(50)
    for _ in range(REMEMBERED):
        known.learn("a", 10, 4, 8.0)
    assert known.foretell("a", 10, 100) == pytest.approx(200)


def test_a_size_that_was_not_seen_takes_its_part_of_the_nearest() -> None:
    known = Pace()
    known.learn("a", 100, 1, 1.0)
    known.learn("a", 1000, 1, 4.0)
    assert known.foretell("a", 200, 3) == pytest.approx(6)
    assert known.foretell("a", 2000, 3) == pytest.approx(24)


def test_work_is_a_forward_pass_and_a_backward_pass_for_each_target() -> None:
    assert work_of_a_point(1) == pytest.approx(1)
    assert work_of_a_point(20) == pytest.approx(FORWARD + 20 * (1 - FORWARD))


@pytest.mark.parametrize(("quick", "rows"), [(math.inf, [1, 1, TOGETHER]), (0.0, [1, 1])])
def test_a_gradient_is_timed_on_the_network_itself(
    quick: float, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a quick network some rows together, as points are computed; of a slow one that would take too long."""
    monkeypatch.setattr(pace, "QUICK", quick)
    calls = []
    network = small_network().eval().requires_grad_(False)
    network.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    assert seconds_of_a_gradient(network, (3, 8, 10), torch.device("cpu")) > 0
    assert calls == rows


class Waiting(nn.Module):
    """A network of which a batch takes 0.08 s, however many rows it has, by a clock that it moves."""

    def __init__(self, moved: list[float]) -> None:
        super().__init__()
        self.moved = moved

    def forward(self, x: Tensor) -> Tensor:
        self.moved[0] += 0.08
        return x.flatten(1)


def test_what_many_rows_take_together_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: moved[0])
    assert seconds_of_a_gradient(Waiting(moved), (3,), torch.device("cpu")) == pytest.approx(0.08 / TOGETHER)
