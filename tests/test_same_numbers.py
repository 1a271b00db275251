"""The numbers depend on the request alone: not on chunks, batches, other requests or the module's state."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads import integrated_gradients
from shared.toys import call, encoded, json_call, pixels, small_network, small_service, told

ROUNDING = 1e-5
"""Bound on the difference that another chunk size makes, relative to the largest value: float32 rounding."""


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@settings(deadline=None, max_examples=25)
@given(chunk_rows=st.integers(1, 40), n_steps=st.integers(1, 30))
def test_any_chunk_size_gives_the_same(chunk_rows: int, n_steps: int) -> None:
    network = small_network()
    x = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(n_steps))
    whole = integrated_gradients(network, x, n_steps=n_steps, chunk_rows=1000)
    cut = integrated_gradients(network, x, n_steps=n_steps, chunk_rows=chunk_rows)
    assert whole.gradients is not None
    assert cut.gradients is not None
    assert largest_difference(cut.gradients, whole.gradients) < ROUNDING
    assert largest_difference(cut.integrated_gradients, whole.integrated_gradients) < ROUNDING
    assert cut.evaluations == whole.evaluations == n_steps + 2


def test_a_request_gives_the_same_bytes_twice() -> None:
    service, request = small_service(), call(data=encoded(pixels()))
    first, second = service.answer([request])[0], service.answer([request])[0]
    assert b"".join(first.body) == b"".join(second.body)


@pytest.mark.parametrize("memory_budget_mb", [64, 4096])
def test_a_batch_gives_what_its_requests_give_alone(memory_budget_mb: int) -> None:
    """Different pictures, steps, rules, baselines and numbers of targets share chunks; a bad one harms nobody."""
    service = small_service(memory_budget_mb=memory_budget_mb)
    service.chunk_rows = 7 if memory_budget_mb == 64 else 1024
    tensors = ["integrated_grads", "integrated_directional_grads", "intermediates", "output", "step_sizes"]
    batch = [
        json_call(img_data=pixels(seed=1).tolist(), fields=tensors, format="json"),
        json_call(img_data=pixels(seed=2).tolist(), fields=tensors, format="json", target_class=[2, 0, 2], n_steps=9),
        json_call(img_data="no picture"),
        json_call(img_data=pixels(20, 30, 3).tolist(), fields=tensors, format="json", method="riemann_trapezoid"),
        json_call(img_data=pixels(seed=4).tolist(), fields=tensors, format="json", baseline="noise", target_class=[1]),
    ]
    together = service.answer(batch)
    assert [reply.status for reply in together] == [200, 200, 400, 200, 200]
    for request, reply in zip(batch, together, strict=True):
        alone, shared = told(service.answer([request])[0]), told(reply)
        assert alone.keys() == shared.keys()
        for name in set(tensors) & alone.keys():
            expected, found = np.array(alone[name]), np.array(shared[name])
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()


def test_the_network_is_evaluated_in_evaluation_mode_and_left_as_it_was() -> None:
    network = small_network().train()
    frozen = next(network.parameters()).requires_grad_(False)
    x = torch.rand(1, 3, 8, 10)
    running = network[1].running_mean.clone()  # type: ignore[operator]
    first = integrated_gradients(network, x, target=0)
    second = integrated_gradients(network, x, target=0)
    assert torch.equal(first.integrated_gradients, second.integrated_gradients)
    assert torch.equal(running, network[1].running_mean)  # type: ignore[arg-type]
    assert all(part.training for part in network.modules())
    assert [p.requires_grad for p in network.parameters()] == [p is not frozen for p in network.parameters()]
    assert all(p.grad is None for p in network.parameters())
