"""What a caller should know of an integral before they believe it, and no contradiction to what else they are told."""

import re
from typing import Any

import pytest
from shared.toys import json_call, pixels, small_service, told
from torch import Tensor, nn


class Steep(nn.Module):
    """Three outputs that rise within a tenth of the path."""

    def forward(self, x: Tensor) -> Tensor:
        rise = (20 * (x.flatten(1).mean(1) + 0.6)).clamp(0, 1)
        return rise[:, None] * x.new_tensor([1.0, 2.0, 3.0])


def warnings(**options: Any) -> tuple[dict[str, Any], list[str]]:
    service = small_service(nn.Sequential(Steep(), nn.Linear(3, 3)))
    answer = told(service.answer([json_call(img_data=pixels().tolist(), format="json", **options)])[0])
    return answer, [warning for warning in answer["warnings"] if "converged" in warning or "tolerance" in warning]


@pytest.mark.parametrize("steps", [4, 7])
def test_a_delta_of_fixed_steps_is_told_with_what_helps(steps: int) -> None:
    answer, told_of = warnings(n_steps=steps)
    assert not answer["converged"]
    assert [("has not converged" in one, "evaluations or more" in one) for one in told_of] == [(True, True)]


def test_a_warning_speaks_of_the_map_and_of_what_a_better_one_is_likely_to_cost() -> None:
    answer, told_of = warnings(n_steps=100, method="riemann_left")
    assert 0.05 < answer["attribution_error"] < 0.3
    (warning,) = told_of
    found = re.search(r"off by about ([\d.]+) %; tolerance=([\d.]+) would take (\d+) evaluations or more", warning)
    assert found
    assert float(found[1]) == pytest.approx(100 * answer["attribution_error"], rel=0.1)
    met, _ = warnings(tolerance=float(found[2]))
    assert met["converged"]
    assert 1 / 3 < met["evaluations"] / int(found[3]) < 3


def test_what_is_not_resolved_is_called_that() -> None:
    answer, told_of = warnings(n_steps=4)
    assert answer["attribution_error"] > 0.3
    assert [("not even resolved" in one) for one in told_of] == [True]


def test_a_tolerance_that_was_met_is_not_called_unconverged() -> None:
    answer, told_of = warnings(tolerance=1.0)
    assert abs(answer["convergence_delta"]) > 0.05 * abs(answer["difference"])
    assert answer["converged"]
    assert told_of == []


def test_a_tolerance_that_was_not_met_is_told() -> None:
    answer, told_of = warnings(tolerance=1e-9, max_evaluations=20)
    assert not answer["converged"]
    assert any("was not met" in one for one in told_of)


def test_an_input_that_is_the_baseline_is_told() -> None:
    service = small_service()
    black = [[[0] * 3] * 10] * 8
    same = told(service.answer([json_call(img_data=black, baseline="black", format="json")])[0])
    other = told(service.answer([json_call(img_data=black, baseline="white", format="json")])[0])
    assert "the input is the baseline" in same["warnings"][0]
    assert not any("is the baseline" in warning for warning in other["warnings"])
