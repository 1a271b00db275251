"""Of several baselines the attribution is the mean of those of the single ones, with the errors of a mean."""

from typing import Any

import numpy as np
import pytest
import torch
from intgrads import group_values, integrated_gradients
from intgrads.integral.expectation import mean_attribution, spread
from shared.toys import Linear, Quadratic, small_network
from torch import Tensor

STARTS = torch.rand(4, 3, 8, 10, generator=torch.Generator().manual_seed(3))
X = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(4))


def sums(maps: Tensor) -> Any:
    return maps.double().sum(1).flatten(1).numpy()


@pytest.mark.parametrize("options", [{"n_steps": 7}, {"n_steps": 7, "method": "riemann_left"}, {"tolerance": 0.01}])
def test_it_is_the_mean_of_single_ones_and_complete(options: dict[str, Any]) -> None:
    network = small_network()
    mean = integrated_gradients(network, X, STARTS, target=[0, 2], **options)
    each = [integrated_gradients(network, X, start[None], target=[0, 2], **options) for start in STARTS]
    expected = torch.stack([one.integrated_gradients for one in each]).mean(0)
    torch.testing.assert_close(mean.integrated_gradients, expected, rtol=1e-4, atol=1e-7)
    for name in ("difference", "convergence_delta", "baseline_value", "value"):
        np.testing.assert_allclose(getattr(mean, name), np.mean([getattr(one, name) for one in each], 0), atol=1e-6)
    np.testing.assert_allclose(
        sums(mean.integrated_gradients).sum(1) - mean.difference, mean.convergence_delta, atol=1e-5
    )
    assert mean.evaluations == sum(one.evaluations for one in each)
    assert mean.baseline_output.shape == (4, 3)
    assert mean.step_sizes.sum() == pytest.approx(1)
    assert mean.gradients is None
    apart = spread(mean, sums)
    assert apart is not None
    np.testing.assert_allclose(apart, np.std([sums(one.integrated_gradients) for one in each], axis=0), atol=1e-6)
    assert spread(each[0], sums) is None


def test_what_is_known_of_errors_adds_up_and_chance_does_not() -> None:
    """The left rule errs by h/2 (f'(1) - f'(0)) on a quadratic, exactly, which no number of baselines makes smaller."""
    network, x = Quadratic(60), torch.linspace(0.1, 1, 60)[None]
    starts = 0.01 * torch.rand(8, 60, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"target": 0, "n_steps": 20, "method": "riemann_left", "error_map": True}
    mean = integrated_gradients(network, x, starts, **options)
    exact = network.weight[0].detach() * (x**2 - starts**2).mean(0)
    off = float(torch.linalg.vector_norm(mean.integrated_gradients[0] - exact) / torch.linalg.vector_norm(exact))
    assert mean.attribution_error[0] == pytest.approx(off, rel=0.1)
    assert mean.attribution_error_map is not None
    np.testing.assert_allclose(
        mean.attribution_error_map[0], (mean.integrated_gradients[0] - exact).abs(), rtol=0.1, atol=1e-3
    )


def test_an_error_of_chance_shrinks_with_the_baselines() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(30, 300), torch.nn.ReLU(), torch.nn.Linear(300, 2))
    x, starts = torch.rand(1, 30), torch.randn(12, 30)
    coarse = integrated_gradients(network, x, starts, target=0, n_steps=8)
    exact = integrated_gradients(network, x, starts, target=0, n_steps=400)
    off = float(
        torch.linalg.vector_norm(coarse.integrated_gradients - exact.integrated_gradients)
        / torch.linalg.vector_norm(exact.integrated_gradients)
    )
    assert off / 3 < coarse.attribution_error[0] < 3 * off
    assert coarse.attribution_error[0] < np.mean([one.attribution_error[0] for one in coarse.each])


def test_an_open_target_is_the_same_for_all_baselines() -> None:
    """Two equal classes: rounding in another batch must not make one path attribute the other of them."""

    class Wavering(Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            logits = super().forward(x)
            return logits.roll(self.calls, dims=1) if not x.requires_grad else logits

    found = integrated_gradients(Wavering(20), torch.linspace(0, 1, 20)[None], torch.rand(3, 20), chunk_rows=1)
    assert len({one.targets for one in found.each}) == 1


def test_groups_of_the_mean_have_the_mean_of_the_directional_gradients() -> None:
    random = np.random.default_rng(0)
    attributions, step = random.normal(size=(2, 3, 12, 2))
    groups = np.array([[True] * 4 + [False] * 8, [True] * 12])
    together = group_values(attributions, step, groups)
    each = [group_values(*one, groups) for one in zip(attributions, step, strict=True)]
    np.testing.assert_allclose(together.idg, np.mean([one.idg for one in each], axis=0))
    np.testing.assert_allclose(
        together.integrated_gradients, np.mean([one.integrated_gradients for one in each], axis=0)
    )
    assert together.values[-1] == pytest.approx(1)


def test_there_is_no_mean_of_nothing_or_of_different_targets() -> None:
    with pytest.raises(ValueError, match="same targets"):
        mean_attribution([])
    with pytest.raises(ValueError, match="same targets"):
        mean_attribution([integrated_gradients(small_network(), X, target=target) for target in (0, 1)])


@pytest.mark.parametrize("baseline", [torch.rand(0, 3, 8, 10), torch.rand(2, 3, 8, 9), torch.rand(3, 8, 10)])
def test_baselines_of_another_shape_are_refused(baseline: Tensor) -> None:
    with pytest.raises(ValueError, match="share one shape"):
        integrated_gradients(small_network(), X, baseline)
