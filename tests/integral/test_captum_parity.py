"""The same numbers as Captum's IntegratedGradients, for all five rules."""

import pytest
import torch
from captum.attr import IntegratedGradients
from intgrads import METHODS, integrated_gradients
from intgrads.integral.quadrature import Method
from shared.toys import small_network


@pytest.mark.parametrize("n_steps", [2, 13])
@pytest.mark.parametrize("method", METHODS)
def test_parity(method: Method, n_steps: int) -> None:
    network = small_network().eval().double()
    generator = torch.Generator().manual_seed(3)
    x, baseline = torch.rand(2, 1, 3, 8, 10, generator=generator).double()
    ours = integrated_gradients(network, x, baseline, 2, n_steps=n_steps, method=method, chunk_rows=5)
    theirs, delta = IntegratedGradients(network).attribute(
        x, baseline, target=2, n_steps=n_steps, method=method, return_convergence_delta=True
    )
    if method == "riemann_trapezoid":
        # Captum's trapezoid weights sum to (n - 1)/n; its delta is off by as much.
        theirs = theirs * n_steps / (n_steps - 1)
    else:
        assert ours.convergence_delta[0] == pytest.approx(delta.item(), abs=1e-9)
    torch.testing.assert_close(ours.integrated_gradients, theirs.float(), rtol=1e-5, atol=1e-7)
