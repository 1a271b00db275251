"""Convolutions that keep nothing of their input.

PyTorch keeps a convolution's input for the gradient of its weights, whether they are frozen or not. Here only the
gradient of the input is ever wanted: the transposed convolution (Dumoulin and Visin, arXiv 1603.07285, section 4),
which takes the weights and a shape.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from intgrads.speed.layers import layers

Kind = TypeVar("Kind", bound=nn.Conv2d)


def remade(layer: nn.Conv2d, weight: Tensor, kind: type[Kind]) -> Kind:
    """Return a convolution of a kind, with the settings and the bias of a layer and the weights given, frozen."""
    made = kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        layer.groups,
        bias=layer.bias is not None,
        device="meta",
    )
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
    return made


def pads_with_zeros(layer: nn.Conv2d) -> bool:
    """Whether a convolution pads with zeros, as many on both sides: what PyTorch's operators know how to do."""
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def gradient_of_input(
    layer: nn.Conv2d, weight: Tensor, gradient: Tensor, shape: torch.Size, strides: tuple[int, ...]
) -> Tensor:
    """Return the gradient of a convolution's input.

    Parameters
    ----------
    layer : nn.Conv2d
        For its settings; zeros around it.
    weight : Tensor, (C', C / groups, height, width)
        In the type to compute in.
    gradient : Tensor, (N, C', H', W')
        Of the output, in the type of the weight.
    shape, strides : tuple of int
        Of the input, (N, C, H, W).
    """
    # The layer is linear, so that the input's values do not matter.
    like = gradient.new_empty_strided(shape, strides)
    of_input: Tensor = torch.ops.aten.convolution_backward(
        gradient, like, weight, None, layer.stride, layer.padding, layer.dilation,
        False, [0, 0], layer.groups, [True, False, False],
    )[0]  # fmt: skip
    return of_input


class _FrozenConvolution(torch.autograd.Function):
    """A convolution with the gradient of its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Convolution) -> Tensor:
        ctx.layer, ctx.shape, ctx.strides = layer, x.shape, x.stride()
        result = nn.Conv2d.forward(layer, x)
        # Of maps of one pixel PyTorch gives a view, which a ReLU could not change in place.
        return result if result._base is None else result.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient_of_input(ctx.layer, ctx.layer.weight, gradient, ctx.shape, ctx.strides), None


class Convolution(nn.Conv2d):
    """``nn.Conv2d``, frozen, that keeps nothing of its input for the backward pass. It pads with zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        result: Tensor = _FrozenConvolution.apply(x, self)
        return result


def replace_convolutions(module: nn.Module) -> None:
    """Make every plain ``nn.Conv2d`` of a module that pads with zeros, in place, a :class:`Convolution`."""
    for parent, name, layer in layers(module):
        if type(layer) is nn.Conv2d and pads_with_zeros(layer):
            setattr(parent, name, remade(layer, layer.weight, Convolution))
