"""Integrals that are known exactly come out exactly."""

import pytest
import torch
from intgrads import METHODS, integrated_gradients
from intgrads.integral.quadrature import Method
from shared.toys import Cubic, Linear, Quadratic

SHAPE = (1, 3, 4, 5)
X = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).double()
BASELINE = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("method", [m for m in METHODS if m != "riemann_trapezoid"])
def test_a_linear_network_is_exact_with_one_step_of_any_rule(method: Method) -> None:
    network = Linear(60).double()
    result = integrated_gradients(network, X, BASELINE, 1, n_steps=1, method=method)
    expected = (network.weight[1].view(SHAPE) * (X - BASELINE)).detach()
    torch.testing.assert_close(result.integrated_gradients, expected.float())
    assert result.convergence_delta[0] == pytest.approx(0, abs=1e-12)
    assert result.local_error[0] == pytest.approx(0, abs=1e-12)
    assert result.converged.all()


def test_the_trapezoid_is_exact_for_a_linear_network_with_its_two_ends() -> None:
    result = integrated_gradients(Linear(60).double(), X, BASELINE, 1, n_steps=2, method="riemann_trapezoid")
    assert result.convergence_delta[0] == pytest.approx(0, abs=1e-12)
    assert result.evaluations == 2


@pytest.mark.parametrize("module", [Quadratic, Cubic])
def test_two_gauss_legendre_nodes_are_exact_up_to_a_cubic_network(module: type[Linear]) -> None:
    network = module(60).double()
    result = integrated_gradients(network, X, BASELINE, 2, n_steps=2)
    power = 2 if module is Quadratic else 3
    expected = network.weight[2].detach().view(SHAPE) * (X**power - BASELINE**power)
    if module is Quadratic:
        torch.testing.assert_close(result.integrated_gradients, expected.float())
    assert result.convergence_delta[0] == pytest.approx(0, abs=1e-11)
    assert result.integrated_gradients.double().sum().item() == pytest.approx(expected.sum().item(), rel=1e-6)


def test_the_delta_is_what_completeness_misses() -> None:
    """Σ IG - (f(x) - f(x')), from the network itself: one right-hand node of a quadratic doubles the change from 0."""
    network = Quadratic(60).double()
    zeros = torch.zeros_like(X)
    result = integrated_gradients(network, X, zeros, 0, n_steps=1, method="riemann_right")
    change = (network(X) - network(zeros))[0, 0].item()
    assert result.difference[0] == pytest.approx(change, rel=1e-12)
    assert result.convergence_delta[0] == pytest.approx(2 * change - change, rel=1e-9)
    assert not result.converged.any()


def test_the_local_error_does_not_let_errors_of_opposite_sign_cancel() -> None:
    """Along this path the slope is antisymmetric about the middle: the whole integral is 0 and any rule finds it."""

    class Bump(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x.flatten(1) * (1 - x.flatten(1))).sum(1) ** 6, x.flatten(1).sum(1)], 1)

    x = torch.ones(1, 4).double()
    result = integrated_gradients(Bump(), x, target=0, n_steps=4)
    assert result.convergence_delta[0] == pytest.approx(0, abs=1e-12)
    assert result.local_error[0] > 0.05 * 4**6 * 0.25**6


def test_the_integral_is_the_weighted_sum_of_the_gradients_that_are_returned() -> None:
    result = integrated_gradients(Cubic(60).double(), X, BASELINE, [0, 2], n_steps=7)
    assert result.gradients is not None
    weights = torch.from_numpy(result.step_sizes).view(1, -1, 1, 1, 1)
    total = (result.gradients.double() * weights).sum(1) * (X - BASELINE)
    torch.testing.assert_close(result.integrated_gradients, total.float(), rtol=1e-5, atol=1e-6)
    for k, alpha in enumerate(result.alphas):
        point = (BASELINE + alpha * (X - BASELINE)).requires_grad_()
        gradient = torch.autograd.grad(Cubic(60).double()(point)[0, 2], point)[0]
        torch.testing.assert_close(result.gradients[1, k], gradient[0].float())


def test_unlike_shapes_and_several_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        integrated_gradients(Linear(60), X, BASELINE[..., :2])
    with pytest.raises(ValueError, match="one shape"):
        integrated_gradients(Linear(60), X.repeat(2, 1, 1, 1))
