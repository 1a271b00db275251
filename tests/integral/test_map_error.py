"""The estimated error of the map is near the true one, for every rule, on networks that jump and on smooth ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads import integrated_gradients
from intgrads.integral.attribution import Attribution
from intgrads.integral.interpolation import gap_integrals, residuals
from intgrads.integral.quadrature import METHODS
from intgrads.integral.sketch import DIMENSIONS, sketch
from shared.html_pages import page_of
from shared.toys import Linear, json_call, pixels, small_network, small_service, told
from torch import Tensor, nn

FEATURES = 40


class Along(nn.Module):
    """f(x) = the sum over many units of a ramp in w · x, from 0 to 1 along the path: smooth or with a kink."""

    def __init__(self, ramp: Any, units: int, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.ramp = ramp
        self.weight = torch.rand(FEATURES, units, generator=random, dtype=torch.float64) / FEATURES * 2
        self.size = torch.randn(units, generator=random, dtype=torch.float64) + 1
        self.kinks = torch.rand(units, generator=random, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ramp(x @ self.weight - self.kinks * self.weight.sum(0)) @ self.size
        return out[:, None]


X = torch.ones(1, FEATURES, dtype=torch.float64)
RAMPS = {
    "relu": torch.relu,
    "softplus": lambda x: nn.functional.softplus(6 * x) / 6,
    "sine": lambda x: torch.sin(5 * x),
}


def true_error(found: Attribution, network: nn.Module) -> float:
    truth = integrated_gradients(network, X, target=0, n_steps=4001, method="riemann_middle", keep_gradients=False)
    off = found.integrated_gradients.double() - truth.integrated_gradients.double()
    return float(off.norm() / found.integrated_gradients.double().norm())


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_steps", [12, 40])
def test_it_is_near_the_true_one_for_fixed_rules(ramp: str, method: Any, n_steps: int) -> None:
    ratios = []
    for seed in range(4):
        network = Along(RAMPS[ramp], 400, seed)
        found = integrated_gradients(network, X, target=0, n_steps=n_steps, method=method)
        true = true_error(found, network)
        if true > 1e-5:
            ratios.append(found.attribution_error[0] / true)
        else:
            assert found.attribution_error[0] < 1e-4
    assert all(ratio > 0.5 for ratio in ratios), ratios
    assert not ratios or np.median(ratios) < (2 if ramp == "relu" else 3), ratios


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.parametrize("tolerance", [0.02, 0.003])
def test_a_tolerance_is_of_the_map(ramp: str, tolerance: float) -> None:
    for seed in range(4):
        network = Along(RAMPS[ramp], 400, seed)
        found = integrated_gradients(network, X, target=0, tolerance=tolerance)
        assert found.converged[0]
        assert found.attribution_error[0] <= tolerance
        assert true_error(found, network) < 1.5 * tolerance
        assert found.local_error[0] <= tolerance * abs(found.difference[0])


def test_the_error_of_each_feature_adds_up_to_that_of_the_map() -> None:
    network = Along(torch.relu, 400, 0)
    found = integrated_gradients(network, X, target=[0], n_steps=20, error_map=True, keep_gradients=False)
    assert found.gradients is None
    assert found.attribution_error_map is not None
    assert found.attribution_error_map.shape == (1, 1, FEATURES)[1:]
    total = found.attribution_error_map.norm() / found.integrated_gradients.norm()
    assert total.item() == pytest.approx(found.attribution_error[0], rel=0.05)


def test_sums_have_the_errors_of_sums() -> None:
    """Half of the features against all: what is estimated is as far off as the sums are."""
    ratios = []
    for seed in range(20):
        network = Along(torch.relu, 400, seed)
        truth = integrated_gradients(network, X, target=0, n_steps=4001, method="riemann_middle", keep_gradients=False)
        found = integrated_gradients(network, X, target=0, n_steps=16, method="riemann_middle")
        assert found.gradients is not None
        off = (found.integrated_gradients - truth.integrated_gradients).double()[0, : FEATURES // 2].sum()
        # The whole has a known error: the convergence delta.
        ratios.append(abs(off.item()) / (found.attribution_error[0] * found.integrated_gradients.norm().item()))
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 2 * np.sqrt(FEATURES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_steps", [2, 3, 4, 5, 6, 7])
def test_few_steps_have_an_estimate_too(method: Any, n_steps: int) -> None:
    found = integrated_gradients(Along(torch.relu, 40, 0), X, target=0, n_steps=n_steps, method=method)
    assert np.isfinite(found.attribution_error).all()
    assert found.attribution_error[0] > 0.001
    exact = integrated_gradients(Linear(FEATURES).double(), X, target=0, n_steps=n_steps, method=method)
    assert exact.attribution_error[0] < 1e-6
    assert exact.converged.all()


def test_what_no_node_has_seen_is_not_called_small() -> None:
    """All of f changes within a millionth of the path: the gradients are zeros at every node."""

    class Cliff(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(1e7 * x.mean(1, keepdim=True))

    found = integrated_gradients(Cliff(), X, target=0, n_steps=50)
    assert found.attribution_error[0] > 0.9
    assert not found.converged[0]
    refined = integrated_gradients(Cliff(), X, target=0, tolerance=0.05)
    assert refined.converged[0]
    assert refined.integrated_gradients.sum().item() == pytest.approx(1, abs=0.05)


def test_several_targets_have_their_own() -> None:
    network = nn.Sequential(nn.Linear(FEATURES, 30), nn.ReLU(), nn.Linear(30, 3)).double()
    several = integrated_gradients(network, 10 * X, target=[2, 0], n_steps=20)
    for t, target in enumerate((2, 0)):
        alone = integrated_gradients(network, 10 * X, target=target, n_steps=20)
        assert several.attribution_error[t] == pytest.approx(alone.attribution_error[0], rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), points=st.sampled_from([2, 4, 6]), inner=st.integers(3, 40), ends=st.booleans())
def test_local_polynomials_are_exact_for_polynomials(seed: int, points: int, inner: int, ends: bool) -> None:
    random = np.random.default_rng(seed)
    alphas = (np.arange(inner) + random.uniform(0.4, 0.6, inner)) / inner
    if ends:
        alphas = np.concatenate([[0], alphas, [1]])
    order = min(points, len(alphas))
    integrals = gap_integrals(alphas, points)
    for power in range(order):
        ends_of = np.concatenate([[0], alphas[alphas > 0], [1]])
        ends_of = np.unique(ends_of)
        expected = np.diff(ends_of ** (power + 1)) / (power + 1)
        np.testing.assert_allclose(integrals.of(alphas**power), expected, atol=1e-7)
    assert integrals.weights(len(alphas)).sum() == pytest.approx(1, abs=1e-7)
    off = residuals(alphas, 2).of(np.stack([alphas, 3 - alphas], 1))
    np.testing.assert_allclose(off, 0, atol=1e-9)


def test_a_sketch_keeps_norms_and_is_linear_and_the_same_each_time() -> None:
    random = torch.Generator().manual_seed(1)
    vectors = torch.randn(40, 3, 100, 100, generator=random) * torch.rand(100, 100, generator=random) ** 4
    short = sketch(vectors)
    assert short.shape == (40, DIMENSIONS)
    ratios = np.linalg.norm(short, axis=1) / vectors.flatten(1).norm(dim=1).numpy()
    assert np.abs(ratios - 1).max() < 0.2
    np.testing.assert_allclose(sketch(vectors[:1] - 2 * vectors[1:2]), short[:1] - 2 * short[1:2], atol=1e-4)
    assert (sketch(vectors) == short).all()
    few = torch.randn(2, 5, 3)
    np.testing.assert_array_equal(sketch(few), few.double().flatten(1).numpy())


def ask(**options: Any) -> dict[str, Any]:
    request = json_call(img_data=pixels().tolist(), format="json", **options)
    return told(small_service(small_network()).answer([request])[0])


def test_an_answer_has_the_error_of_each_pixel_where_it_is_named() -> None:
    # A rule that errs: Gauss's is right to float32's rounding here, which is added to the whole alone.
    options: dict[str, Any] = {"n_steps": 10, "method": "riemann_left"}
    answer = ask(fields=["attribution_error_map", "integrated_grads"], **options)
    of_pixels = np.array(answer["attribution_error_map"])
    assert of_pixels.shape == (1, 8, 10)
    whole = np.linalg.norm(of_pixels) / np.linalg.norm(answer["integrated_grads"])
    assert whole == pytest.approx(answer["attribution_error"], rel=0.1)
    assert "attribution_error_map" not in ask(n_steps=10)


def test_several_targets_have_a_list_of_errors() -> None:
    answer = ask(target_class=[0, 1], fields="attribution_error_map", n_steps=10)
    assert len(answer["attribution_error"]) == 2
    assert np.array(answer["attribution_error_map"]).shape == (2, 1, 8, 10)


def test_groups_have_errors_and_neighbours_that_cannot_be_told_apart_are_marked() -> None:
    labels = np.arange(80).reshape(8, 10) // 5
    options: dict[str, Any] = {"groups": labels.tolist(), "n_steps": 5, "method": "riemann_left"}
    answer = ask(**options)
    for group in answer["groups"]:
        for name in ("idg", "dividend", "value", "integrated_gradients"):
            assert group[f"{name}_error"] >= 0
            assert np.isfinite(group[f"{name}_error"])
    whole = answer["groups"][-1]
    assert whole["integrated_gradients_error"] == pytest.approx(abs(answer["convergence_delta"]), rel=0.5)
    request = json_call(img_data=pixels().tolist(), format="html", **options)
    (shown,) = page_of(small_service(small_network()).answer([request])[0]).answers
    assert shown["groups"]["figures"][0]["value"]["error"] == [group["value_error"] for group in answer["groups"]]


def test_an_archives_tolerance_is_for_those_who_say_nothing_of_the_nodes() -> None:
    def asked(**options: Any) -> dict[str, Any]:
        request = json_call(img_data=pixels().tolist(), format="json", **options)
        return told(small_service(small_network(), tolerance=0.05).answer([request])[0])

    assert asked()["method"] == "refined"
    assert asked()["tolerance"] == 0.05
    assert asked(n_steps=7)["n_steps"] == 7
    assert asked(n_steps=7)["tolerance"] is None
    assert asked(method="riemann_left")["method"] == "riemann_left"
    assert asked(tolerance=0.5, n_steps=33)["evaluations"] == 33
    assert asked(max_evaluations=9)["evaluations"] <= 9
