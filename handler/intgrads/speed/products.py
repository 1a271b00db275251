"""Matrix products by oneDNN, forward and backward, where PyTorch would send them elsewhere.

PyTorch hands float32 products on a CPU to the BLAS it was built with (MKL in the builds that pip brings), which runs at
half of oneDNN's rate on AMD's Zen 5. oneDNN's product is reached by an operator that PyTorch keeps for its own
compiler; where it is missing, or for any other type or device, :class:`Product` is the plain layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from intgrads.speed.layers import layers


def available() -> bool:
    """Whether this build of PyTorch has oneDNN and its product."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_onednn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class _FrozenProduct(torch.autograd.Function):
    """x Wᵀ + b with the gradient of x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradient, weight.t(), None), None, None


def by_rows(product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a product of the rows (N, in_features) of x, in the dimensions of x.

    Of more dimensions than two the operators give a view made within our function, which no ReLU may change in place.
    """
    rows = product(x.reshape(-1, x.shape[-1]))
    return rows if x.dim() == 2 else rows.view(*x.shape[:-1], rows.shape[-1])


class Product(nn.Linear):
    """``nn.Linear`` whose float32 products on a CPU are oneDNN's.

    Parameters
    ----------
    weight : Tensor, (out_features, in_features)
    bias : Tensor, (out_features,), or None
        Frozen: there is no gradient of either.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        with torch.device("meta"):
            super().__init__(weight.shape[1], weight.shape[0], bias=bias is not None)
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b for x of shape (…, in_features)."""
        if x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32 and available():
            return by_rows(lambda rows: _FrozenProduct.apply(rows, self.weight, self.bias), x)
        return functional.linear(x, self.weight, self.bias)


def replace_linear(module: nn.Module) -> None:
    """Make every plain ``nn.Linear`` of a module, in place, a :class:`Product` of the same weights."""
    for parent, name, layer in layers(module):
        if type(layer) is nn.Linear:
            setattr(parent, name, Product(layer.weight, layer.bias))
