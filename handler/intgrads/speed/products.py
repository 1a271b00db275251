"""Matrix products by oneDNN, forward and backward, where it is faster than the BLAS that PyTorch was built with.

PyTorch hands float32 products on a CPU to its BLAS (MKL in the builds that pip brings), which is half as fast as oneDNN
on some processors and faster on others. oneDNN's product is reached by operators that PyTorch keeps for its own
compiler, with the weights as they are or packed beforehand in the order in which it reads them; where they are missing,
and for any other type or device, :class:`Product` is the plain layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from intgrads.speed.choices import Choices

Way = Callable[[Tensor], Tensor]

ROWS = 64
"""Rows of a product that is timed where it will see various numbers of them; its rate hardly grows beyond."""


def available() -> bool:
    """Whether this build of PyTorch has oneDNN and its products."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return has_onednn and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _packed(weight: Tensor, rows: int) -> Tensor:
    result: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    return result


class _FrozenProduct(torch.autograd.Function):
    """x Wᵀ + b with the gradient of x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Product) -> Tensor:
        ctx.layer = layer
        return layer.across(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.back(gradient), None


def by_rows(product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a product of the rows (N, in_features) of x, in the dimensions of x.

    Of more dimensions than two the operators give a view made within our function, which no ReLU may change in place.
    """
    rows = product(x.reshape(-1, x.shape[-1]))
    return rows if x.dim() == 2 else rows.view(*x.shape[:-1], rows.shape[-1])


class Product(nn.Linear):
    """``nn.Linear``, frozen, whose float32 products on a CPU are those that were found fastest.

    Parameters
    ----------
    weight : Tensor, (out_features, in_features)
    bias : Tensor, (out_features,), or None

    Attributes
    ----------
    across, back : callable
        From rows (N, in_features) to x Wᵀ + b, and from the gradient of that, (N, out_features), to that of x.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        with torch.device("meta"):
            super().__init__(weight.shape[1], weight.shape[0], bias=bias is not None)
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias.detach(), requires_grad=False)
        self.across: Way = lambda x: functional.linear(x, self.weight, self.bias)
        self.back: Way = lambda gradient: gradient @ self.weight
        self.is_plain = True

    def forward(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b for x of shape (…, in_features)."""
        if self.is_plain or x.device.type != "cpu" or x.dtype != torch.float32:
            return functional.linear(x, self.weight, self.bias)
        return by_rows(lambda rows: _FrozenProduct.apply(rows, self), x)

    def choose(self, choices: Choices, rows: int = ROWS) -> None:
        """Take the fastest ways for this layer and some number of rows, each direction for itself."""
        if self.weight.device.type != "cpu" or self.weight.dtype != torch.float32 or not available():
            return
        weight, bias = self.weight, self.bias
        out_features, in_features = weight.shape
        question = f"product {in_features} to {out_features}, {rows} rows"
        # Packed when first called; a way that is not taken is given back with what it packed.
        packed, turned = cache(lambda: _packed(weight, rows)), cache(lambda: _packed(weight.t(), rows))
        across: dict[str, Way] = {
            "plain": self.across,
            "onednn": lambda x: _onednn(x, weight, bias),
            "packed": lambda x: _onednn(x, packed(), bias),
        }
        back: dict[str, Way] = {
            "plain": self.back,
            "onednn": lambda gradient: _onednn(gradient, weight.t(), None),
            "packed": lambda gradient: _onednn(gradient, turned(), None),
        }
        x, gradient = torch.randn(rows, in_features), torch.randn(rows, out_features)
        with torch.no_grad():
            forward = choices.fastest(f"{question}, forward", {n: partial(w, x) for n, w in across.items()})
            backward = choices.fastest(f"{question}, backward", {n: partial(w, gradient) for n, w in back.items()})
        self.across, self.back = across[forward], back[backward]
        self.is_plain = forward == backward == "plain"
