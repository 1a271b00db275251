"""Memory that runs out halves the batch and the integration goes on; what nobody asked for is not kept."""

from typing import Any

import pytest
import torch
from intgrads import integrated_gradients
from intgrads.integral.attribution import LEAST_HELD, PathIntegral
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import quadrature
from intgrads.integral.refinement import Refinement
from shared.memory import OUT, Small
from shared.toys import json_call, pixels, small_network, small_service, told


@pytest.mark.parametrize("error", OUT)
def test_the_batch_is_halved_and_nothing_is_lost(error: Exception) -> None:
    x = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    network = Small(5, error)
    found = integrated_gradients(network, x, target=0, n_steps=32, chunk_rows=32)
    expected = integrated_gradients(small_network(), x, target=0, n_steps=32, chunk_rows=4)
    assert network.batches[:5] == [2, 32, 16, 8, 4]  # first the two ends, of which the outputs are enough
    assert set(network.batches[4:]) == {4}
    assert torch.equal(found.integrated_gradients, expected.integrated_gradients)


def test_without_memory_for_one_row_the_request_is_told_so_and_the_next_is_served() -> None:
    service = small_service()
    module = service.network.module
    service.network = type(service.network)(Small(0, OUT[0]), service.network.picture, service.network.labels)
    ask: dict[str, Any] = {"img_data": pixels().tolist(), "format": "json"}
    error = told(service.answer([json_call(**ask)])[0])
    assert (error["code"], error["type"]) == (507, "OutOfMemory")
    service.network = type(service.network)(module, service.network.picture, service.network.labels)
    assert service.answer([json_call(**ask)])[0].status == 200


def test_other_failures_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        integrated_gradients(Small(0, RuntimeError("shapes differ")), torch.rand(1, 3, 8, 10), target=0)


def test_gradients_that_nobody_asked_for_are_not_kept() -> None:
    path = StraightPath(torch.ones(1000), torch.zeros(1000), (0,))
    for keep in (True, False):
        integral = PathIntegral(path, FixedNodes(quadrature("gausslegendre", 20)), keep_gradients=keep)
        for alpha in integral.next_alphas():
            integral.add_output(alpha, torch.tensor([alpha]))
            if integral.needs_gradient(alpha):
                integral.add_gradient(alpha, torch.full((1, 1000), 1e-3))
        assert len(integral._held) == (20 if keep else 0)
        assert not integral.next_alphas()
        assert integral.complete
        assert integral.finish().convergence_delta[0] == pytest.approx(0, abs=1e-6)


def kinked(x: torch.Tensor) -> torch.Tensor:
    """Return f and its gradient at x, a network of one layer of ReLUs whose kinks lie anywhere along the path."""
    random = torch.Generator().manual_seed(0)
    weights, kinks = torch.randn(400, len(x), generator=random), torch.rand(400, generator=random)
    before = weights @ x - kinks * weights.sum(1)
    return torch.stack([torch.relu(before).sum(), *((before > 0).float() @ weights)])


@pytest.mark.parametrize("start", [0, 200])
def test_a_refinement_of_thousands_of_points_holds_a_bounded_few(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room the rest is planned; points whose weight it changes are computed again, and counted."""
    monkeypatch.setattr("intgrads.integral.attribution.HELD_BYTES", 0)
    path = StraightPath(torch.ones(30), torch.zeros(30), (0,))
    found = []
    for keep in (True, False):
        integral = PathIntegral(path, Refinement(0.002, 5000, start), keep_gradients=keep)
        most = points = 0
        while alphas := integral.next_alphas():
            for alpha in alphas:
                output = kinked(path.point(alpha))
                integral.add_output(alpha, output[:1])
                integral.add_gradient(alpha, output[None, 1:])
                most, points = max(most, len(integral._held)), points + 1
        found.append(integral.finish())
        assert found[-1].evaluations == points <= 5000
        assert keep or most <= LEAST_HELD
    kept, dropped = found
    assert kept.converged.all()
    assert dropped.converged.all()
    if not start:
        assert 200 < dropped.evaluations < 4 * kept.evaluations
    difference = (kept.integrated_gradients - dropped.integrated_gradients).norm() / kept.integrated_gradients.norm()
    assert difference < 0.006
    total = dropped.integrated_gradients.double().sum() - dropped.difference[0]
    assert total.item() == pytest.approx(dropped.convergence_delta[0], abs=1e-4)
