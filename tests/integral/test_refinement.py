"""A tolerance is met where the slope hides, jumps or is smooth; what was paid for is used; nothing is rescaled."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads import Attribution, integrated_gradients
from intgrads.integral.convergence import Samples, local_error
from intgrads.integral.refinement import LEAST_REFINEMENT, Refinement
from shared.toys import Linear, Quadratic, call, encoded, json_call, pixels, small_network, small_service, told
from torch import Tensor, nn

X = torch.randn(1, 60, generator=torch.Generator().manual_seed(1)).double()


class Normalised(Linear):
    """f(x) = W x / sqrt(x·x + ε), as GroupNorm sees zeros: all of the change is near α = sqrt(ε)/‖x‖."""

    epsilon = 1e-10

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T / (x.square().sum(1, keepdim=True) + self.epsilon).sqrt()


def relus(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(60, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 3)).double()


def relative(result: Attribution) -> tuple[float, float]:
    size = abs(result.difference[0])
    return abs(result.convergence_delta[0]) / size, result.local_error[0] / size


@pytest.mark.parametrize("epsilon", [1e-6, 1e-10, 1e-14])
def test_a_change_at_tiny_alpha_is_found_where_fixed_steps_miss_it(epsilon: float) -> None:
    network = Normalised(60).double()
    network.epsilon = epsilon
    fixed = integrated_gradients(network, X, target=0, n_steps=600)
    refined = integrated_gradients(network, X, target=0, tolerance=0.01)
    if epsilon < 1e-9:
        assert relative(fixed)[0] > 0.5
        assert not fixed.converged.all()
    assert refined.converged.all()
    assert max(relative(refined)) <= 0.01
    assert refined.evaluations < 200
    # f(αx) = α W·x / sqrt(α² x·x + ε), and ∂f/∂xᵢ integrates in closed form: the attributions themselves are right.
    q, root = X.square().sum().item(), (X.square().sum().item() + epsilon) ** 0.5
    first = np.arcsinh((q / epsilon) ** 0.5) / q**0.5
    second = first / q - 1 / (q * root)
    weight = network.weight[0].detach()
    expected = X * (weight * first - X * (weight * X).sum() * second)
    assert (refined.integrated_gradients - expected).abs().sum() < 0.02 * expected.abs().sum()


@pytest.mark.parametrize("seed", range(3))
def test_relus_are_resolved(seed: int) -> None:
    result = integrated_gradients(relus(seed), 20 * X, target=1, tolerance=0.01)
    assert result.converged.all()
    assert max(relative(result)) <= 0.01


def test_a_smooth_network_needs_the_first_round_only_and_gets_simpsons_order() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(60, 50), nn.Tanh(), nn.Linear(50, 3)).double()
    result = integrated_gradients(network, X, target=1, tolerance=0.01)
    assert result.evaluations == LEAST_REFINEMENT
    fixed = integrated_gradients(network, X, target=1, n_steps=200)
    error = (result.integrated_gradients - fixed.integrated_gradients).abs().sum()
    assert error < 1e-4 * fixed.integrated_gradients.abs().sum()


def test_it_does_not_do_worse_than_fixed_steps_of_equal_cost() -> None:
    """Over networks of ReLUs: the attributions' own error, against 5,000 midpoints, is that of the best fixed rule."""
    ratios, deltas = [], []
    for seed in range(10):
        network = relus(seed)
        truth = integrated_gradients(network, 20 * X, target=1, n_steps=5000, method="riemann_middle", chunk_rows=5000)
        refined = integrated_gradients(network, 20 * X, target=1, tolerance=0.005)
        fixed = [
            integrated_gradients(network, 20 * X, target=1, n_steps=refined.evaluations, method=method)
            for method in ("gausslegendre", "riemann_middle", "riemann_trapezoid")
        ]

        def error(result: Attribution, truth: Attribution = truth) -> float:
            return float((result.integrated_gradients - truth.integrated_gradients).abs().sum())

        ratios.append(error(refined) / min(map(error, fixed)))
        deltas.append(abs(refined.convergence_delta[0]) / min(abs(f.convergence_delta[0]) for f in fixed))
    assert np.median(ratios) < 1.1, ratios
    assert np.median(deltas) < 3, deltas


def test_every_point_that_is_computed_is_a_node_of_the_answer() -> None:
    seen = 0

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = relus(0)

        def forward(self, x: Tensor) -> Tensor:
            nonlocal seen
            seen += len(x)
            out: Tensor = self.inner(x)
            return out

    result = integrated_gradients(Counting(), 20 * X, target=0, tolerance=0.005)
    assert seen == result.evaluations == len(result.alphas) > LEAST_REFINEMENT
    assert result.step_sizes.sum() == pytest.approx(1, abs=1e-12)
    assert result.gradients is not None
    weights = torch.from_numpy(result.step_sizes).view(1, -1, 1)
    total = (result.gradients.double() * weights).sum(1) * 20 * X
    torch.testing.assert_close(result.integrated_gradients, total.float(), rtol=1e-4, atol=1e-5)


class Cancelling(nn.Module):
    """Two features whose slopes jump at 0.3, in opposite directions, and a third that changes steeply at 0.8."""

    def forward(self, x: Tensor) -> Tensor:
        up, down, steep = x.unbind(1)
        jumps = 10 * (torch.relu(up - 0.3) - torch.relu(down - 0.3))
        return (jumps + torch.tanh(40 * (steep - 0.8)))[:, None]


def test_features_are_resolved_whose_errors_cancel_in_the_sum() -> None:
    """The sum tells nothing of the jump at 0.3: how far each feature's own slope bends does."""
    result = integrated_gradients(Cancelling(), torch.ones(1, 3).double(), target=0, tolerance=1e-4)
    assert result.converged.all()
    assert result.integrated_gradients[0, :2].tolist() == pytest.approx([7, -7], abs=0.01)


@pytest.mark.parametrize("most", [17, 18, 40, 61])
def test_it_stops_at_the_most_evaluations_and_says_so(most: int) -> None:
    result = integrated_gradients(relus(0), 20 * X, target=0, tolerance=1e-9, max_evaluations=most)
    assert most - 1 <= result.evaluations <= most
    assert not result.converged.any()
    assert result.local_error[0] > 1e-9 * abs(result.difference[0])


def test_a_linear_network_and_a_flat_one_are_done_at_once() -> None:
    assert integrated_gradients(Linear(60).double(), X, target=0, tolerance=1e-6).evaluations == LEAST_REFINEMENT
    flat = Linear(60).double()
    nn.init.zeros_(flat.weight)
    result = integrated_gradients(flat, X, target=0, tolerance=0.01)
    assert result.converged.all()
    assert result.difference[0] == 0


def test_all_of_several_targets_meet_it() -> None:
    result = integrated_gradients(relus(1), 20 * X, target=[0, 1, 2], tolerance=0.01)
    assert result.converged.all()
    assert (result.local_error <= 0.01 * np.abs(result.difference)).all()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), jumps=st.integers(0, 30), start=st.integers(0, 100), rounds=st.integers(0, 6))
def test_weights_stay_small_and_sum_to_one_whatever_the_slope(seed: int, jumps: int, start: int, rounds: int) -> None:
    random = np.random.default_rng(seed)
    kinks, sizes = random.uniform(0, 1, (jumps, 1)), random.normal(size=(jumps, 1))

    def samples(alphas: list[float]) -> Samples:
        at = np.array(sorted(alphas))
        values = (sizes * np.maximum(at - kinks, 0)).sum(0)
        slopes = (sizes * (at > kinks)).sum(0)
        return Samples(at, values[:, None], slopes[:, None], slopes[:, None, None])

    refinement = Refinement(1e-6, 300, start)
    nodes = refinement.start()
    assert len(nodes) >= max(start, LEAST_REFINEMENT)
    for _ in range(rounds):
        more = refinement.more(samples(nodes), 300 - len(nodes), None)
        assert not set(more) & set(nodes)
        nodes += more
    rule = refinement.rule(samples(nodes))
    assert rule.weights.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(rule.weights).sum() < 2.5  # what is beside a jump is not extrapolated
    known = samples(nodes)
    delta = rule.weights @ known.slopes[:, 0] - known.difference[0]
    assert abs(delta) <= local_error(known)[0] + 1e-12


def ask(**options: Any) -> dict[str, Any]:
    request = json_call(img_data=pixels().tolist(), format="json", **options)
    reply = small_service(small_network()).answer([request])[0]
    assert reply.status == 200, told(reply)
    return told(reply)


def test_a_request_says_what_its_refinement_cost() -> None:
    answer = ask(tolerance=1e-4, fields=["alphas", "step_sizes", "integrated_directional_grads"])
    assert answer["converged"]
    assert answer["tolerance"] == 1e-4
    assert answer["n_steps"] == answer["evaluations"] == len(answer["alphas"]) == len(answer["step_sizes"])
    assert np.array(answer["integrated_directional_grads"]).shape == (answer["evaluations"], 3, 8, 10)
    assert answer["local_error"] <= 1e-4 * abs(answer["difference"])
    assert answer["method"] == "refined"


def test_a_tolerance_that_is_not_met_is_a_warning() -> None:
    answer = ask(tolerance=1e-9, max_evaluations=20)
    assert not answer["converged"]
    assert any("was not met within" in warning for warning in answer["warnings"])


def test_n_steps_is_where_a_refinement_starts_and_what_is_not_used_is_told() -> None:
    assert ask(tolerance=0.5, n_steps=60)["evaluations"] == 61
    answer = ask(tolerance=0.5, method="riemann_left")
    assert any("`method` was not used" in warning for warning in answer["warnings"])
    assert any("`max_evaluations` was not used" in warning for warning in ask(max_evaluations=30)["warnings"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("tolerance", v) for v in (0, -1, 1.5, "much", True, [0.1], 1e400)]
    + [("max_evaluations", v) for v in (0, 4, 5001, 2.5, "many", True)],
)
def test_bad_values_are_refused(field: str, value: Any) -> None:
    asked = {"tolerance": 0.1, field: value}
    error = told(small_service().answer([json_call(img_data=pixels().tolist(), **asked)])[0])
    assert (error["code"], error["field"]) == (400, field)


def test_refinements_and_fixed_rules_share_a_batch() -> None:
    service = small_service()
    service.chunk_rows = 6
    batch = [
        call(data=bytearray(encoded(pixels(seed=k))), format="json", **options)
        for k, options in enumerate([{"tolerance": "0.0001"}, {"n_steps": "9"}, {"tolerance": "0.01"}])
    ]
    for request, reply in zip(batch, service.answer(batch), strict=True):
        alone, together = told(service.answer([request])[0]), told(reply)
        assert together["evaluations"] == alone["evaluations"]
        assert together["convergence_delta"] == pytest.approx(alone["convergence_delta"], abs=1e-6)


@pytest.mark.parametrize(("n_steps", "converged"), [(18, False), (21, True)])
def test_a_fixed_rule_has_converged_within_five_percent_and_warns_beyond(n_steps: int, converged: bool) -> None:
    """From zeros, n right-hand nodes of a quadratic give (n + 1)/n of the difference: 1/n too much."""
    fixed = integrated_gradients(Quadratic(60).double(), X, target=0, n_steps=n_steps, method="riemann_right")
    assert relative(fixed)[0] == pytest.approx(1 / n_steps)
    assert fixed.converged.tolist() == [converged]
    asked = json_call(
        img_data=pixels().tolist(), baseline="zero", n_steps=n_steps, method="riemann_right", format="json"
    )
    answer = told(small_service(Quadratic(3 * 8 * 10)).answer([asked])[0])
    assert answer["convergence_delta"] == pytest.approx(answer["difference"] / n_steps, rel=1e-3)
    assert answer["converged"] == converged
    assert any("has not converged" in warning for warning in answer["warnings"]) == (not converged)
