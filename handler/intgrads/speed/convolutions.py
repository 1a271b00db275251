"""Convolutions that keep nothing of their input.

PyTorch keeps a convolution's input for the gradient of its weights, whether they are frozen or not. Here only the
gradient of the input is ever wanted: the transposed convolution (Dumoulin and Visin, arXiv 1603.07285, section 4),
which takes the weights and a shape. Of stride 1 it is itself a convolution, with the kernel turned by 180°, inputs and
outputs exchanged (section 4.1), and libraries run that one several times as fast where each channel has its own kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from intgrads.speed.choices import Choices
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


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d, *, stride: Any, padding: Any) -> Tensor:
    """Convolve by oneDNN where it can: PyTorch itself leaves 1 × 1 kernels and few rows to a slower way."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        result: Tensor = torch.mkldnn_convolution(x, weight, bias, padding, stride, layer.dilation, layer.groups)
        return result
    return functional.conv2d(x, weight, bias, stride, padding, layer.dilation, layer.groups)


class _FrozenConvolution(torch.autograd.Function):
    """A convolution with the gradient of its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Convolution) -> Tensor:
        ctx.layer, ctx.shape, ctx.strides = layer, x.shape, x.stride()
        result = layer.across(x)
        # Of maps of one pixel PyTorch gives a view, which a ReLU could not change in place.
        return result if result._base is None else result.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.back(gradient, ctx.shape, ctx.strides), None


class Convolution(nn.Conv2d):
    """``nn.Conv2d``, frozen, that keeps nothing of its input for the backward pass. It pads with zeros.

    Attributes
    ----------
    by_onednn : bool
        Whether oneDNN convolves, whatever PyTorch thinks of it.
    turned : Tensor, (C, C' / groups, height, width), or None
        The kernel that gives the gradient of the input by a convolution of that of the output; None where the plain way
        is taken.
    """

    by_onednn = False
    turned: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        result: Tensor = _FrozenConvolution.apply(x, self)
        return result

    def across(self, x: Tensor) -> Tensor:
        """Return the output of (N, C, H, W); autograd does not see it."""
        if self.by_onednn:
            return _convolve(x, self.weight, self.bias, self, stride=self.stride, padding=self.padding)
        return super().forward(x)

    def back(self, gradient: Tensor, shape: torch.Size, strides: tuple[int, ...]) -> Tensor:
        """Return the gradient of the input, of a shape and strides, (N, C, H, W), from the output's."""
        if self.turned is None or self.turned.dtype != gradient.dtype:
            return gradient_of_input(self, self.weight, gradient, shape, strides)
        return _convolve(gradient, self.turned, None, self, stride=(1, 1), padding=self._around)

    @property
    def _around(self) -> list[int]:
        """Padding of the turned kernel."""
        sizes = zip(self.kernel_size, self.dilation, map(int, self.padding), strict=True)
        return [dilation * (size - 1) - padding for size, dilation, padding in sizes]

    @property
    def is_plain(self) -> bool:
        """Whether both directions are PyTorch's own."""
        return not self.by_onednn and self.turned is None

    def choose(self, choices: Choices, x: Tensor) -> None:
        """Take the fastest way in each direction for inputs like one, (N, C, H, W)."""
        question = described(self, x)
        with torch.no_grad():
            ways: dict[str, Callable[[], object]] = {
                "plain": lambda: _channels_last(nn.Conv2d.forward(self, x)),
                "onednn": lambda: _convolve(x, self.weight, self.bias, self, stride=self.stride, padding=self.padding),
            }
            self.by_onednn = choices.fastest(f"{question}, forward", ways) == "onednn"
            if self.stride != (1, 1) or min(self._around) < 0:
                return
            gradient = torch.randn_like(self.across(x))
            turned = turn(self.weight.detach(), self.groups)
            ways = {
                "plain": lambda: _channels_last(gradient_of_input(self, self.weight, gradient, x.shape, x.stride())),
                "turned": lambda: _convolve(gradient, turned, None, self, stride=(1, 1), padding=self._around),
            }
            if choices.fastest(f"{question}, backward", ways) == "turned":
                self.turned = turned


def _channels_last(x: Tensor) -> Tensor:
    """As the next layer wants it: what a way leaves otherwise has to be copied there."""
    return x.contiguous(memory_format=torch.channels_last)


def turn(weight: Tensor, groups: int) -> Tensor:
    """Return a kernel (C', C / groups, h, w) turned by 180°, inputs and outputs exchanged, (C, C' / groups, h, w)."""
    turned = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1).flip(2, 3)
    return _channels_last(turned)


def described(layer: nn.Conv2d, x: Tensor) -> str:
    """Return a convolution and what it sees in words, to ask for its fastest way."""
    kernel, stride, size = ("x".join(map(str, pair)) for pair in (layer.kernel_size, layer.stride, x.shape[2:]))
    parts = [f"convolution {kernel}, {layer.in_channels} to {layer.out_channels} channels"]
    parts += [f"stride {stride}"] * (layer.stride != (1, 1)) + [f"{layer.groups} groups"] * (layer.groups > 1)
    parts += ["dilated"] * (layer.dilation != (1, 1))
    return ", ".join([*parts, f"{len(x)} rows of {size}"])


def frozen(layer: nn.Conv2d) -> Convolution:
    """Return a convolution that pads with zeros as one that keeps nothing."""
    return remade(layer, layer.weight, Convolution)


def replace_convolutions(module: nn.Module) -> None:
    """Make every plain ``nn.Conv2d`` of a module that pads with zeros, in place, a :class:`Convolution`."""
    for parent, name, layer in layers(module):
        if type(layer) is nn.Conv2d and pads_with_zeros(layer):
            setattr(parent, name, frozen(layer))
