"""Whether a network that was remade is the one it was made of."""

import torch
from torch import Tensor, nn


def with_statistics(module: nn.Module) -> nn.Module:
    """Give every normalisation statistics and parameters that are not those of a new one."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
        if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm) and layer.affine:
            nn.init.normal_(layer.weight, 1, 0.2)
            nn.init.normal_(layer.bias, 0, 0.2)
    return module.double().eval()


def assert_same(plain: nn.Module, folded: nn.Module, x: Tensor) -> None:
    """Assert that outputs, and the first two outputs' gradients, agree in float64 to 1e-10 of their largest."""
    x = x.double().requires_grad_()
    expected, found = plain(x), folded(x)
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    for target in range(2):
        one = torch.autograd.grad(expected[:, target].sum(), x, retain_graph=True)[0]
        other = torch.autograd.grad(found[:, target].sum(), x, retain_graph=True)[0]
        assert (other - one).abs().max() <= 1e-10 * one.abs().max()
