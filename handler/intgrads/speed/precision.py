"""How precisely a network computes: ``float32``, ``hybrid`` or ``bfloat16``.

bfloat16 has float32's range and 8 bits of significand, and processors that know it multiply it at twice the rate. A
ReLU's mask, a norm's statistics and the output decide what a gradient is, so that rounding in the forward pass may
change it wholly; rounding in the backward pass errs by a part of its own size. ``hybrid`` therefore computes forward
in float32 and the products of the backward pass in bfloat16.
"""

from __future__ import annotations

import copy
import time
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from intgrads.speed.convolutions import Convolution, gradient_of_input, remade
from intgrads.speed.layers import layers
from intgrads.speed.products import Product, by_rows

Precision = Literal["float32", "hybrid", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


PROBE = 512
"""Rows, columns and depth of the product that is timed."""


@cache
def pays(device: torch.device) -> bool:
    """Whether bfloat16 is worth asking for on a device: whether it multiplies faster there than float32.

    Measured, once a process: processors without instructions for it emulate them, ten times as slow and more, and those
    that have them are about twice as fast, so that any run tells the two apart.
    """
    if device.type != "cpu":
        return True
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(PROBE, PROBE, dtype=dtype)
        runs = []
        for _ in range(5):
            started = time.perf_counter()
            matrix @ matrix
            runs.append(time.perf_counter() - started)
        seconds[dtype] = min(runs)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def at_precision(module: nn.Module, precision: Precision) -> nn.Module:
    """Return a network that computes at a precision.

    Parameters
    ----------
    module : nn.Module
        As :func:`intgrads.speed.preparation.prepare` makes it. Left as it is, and returned itself for ``float32``.
    precision : str
        ``hybrid`` shares the weights of the module; ``bfloat16`` has its own, of half their size.

    Returns
    -------
    nn.Module
        float32 in, float32 out.
    """
    if precision == "float32":
        return module
    # A copy has these in the places of what they are made of.
    instead: dict[int, Any] = {}
    if precision == "bfloat16":
        for _, _, layer in layers(module):
            if isinstance(layer, Product):
                instead[id(layer)] = Product(layer.weight.bfloat16(), layer.bias)
            elif isinstance(layer, Convolution):
                instead[id(layer)] = remade(layer, layer.weight.bfloat16(), Convolution)
        rounded = copy.deepcopy(module, instead).bfloat16()
        for parent, name, layer in layers(rounded):
            # On a CPU, PyTorch's group normalisation of bfloat16 takes several times that of float32.
            if isinstance(layer, nn.GroupNorm):
                setattr(parent, name, Between(layer.float(), torch.float32))
        return Between(rounded, torch.bfloat16)
    instead.update((id(tensor), tensor) for tensor in (*module.parameters(), *module.buffers()))
    for _, _, layer in layers(module):
        # Products are the cost of these; of a depthwise convolution it is memory.
        if type(layer) in (nn.Linear, Product) or (isinstance(layer, Convolution) and layer.groups == 1):
            instead[id(layer)] = _Hybrid(layer)
        elif isinstance(layer, Convolution):
            instead[id(layer)] = layer
    return copy.deepcopy(module, instead)


class Between(nn.Module):
    """A module that computes in one type between neighbours of another."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output in the type of x."""
        result: Tensor = self.module(x.to(self.dtype))
        return result.to(x.dtype)


class _Hybrid(nn.Module):
    """A linear layer, forward as it is, its gradient of the input in bfloat16."""

    def __init__(self, layer: Convolution | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.weight, self.bias = layer.weight, layer.bias  # some networks look at them

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, Convolution):
            return _apply(x, self.layer)
        return by_rows(lambda rows: _apply(rows, self.layer), x)


def _apply(x: Tensor, layer: nn.Module) -> Tensor:
    result: Tensor = _HybridFunction.apply(x, layer)
    return result


class _HybridFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer, ctx.shape, ctx.strides = layer, x.shape, x.stride()
        result: Tensor = layer(x)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        layer = ctx.layer
        # Rounded anew at each pass: a fraction of the product's time, and no second copy of the weights.
        gradient, weight = gradient.bfloat16(), layer.weight.bfloat16()
        if isinstance(layer, nn.Linear):
            return (gradient @ weight).float(), None
        return gradient_of_input(layer, weight, gradient, ctx.shape, ctx.strides).float(), None
