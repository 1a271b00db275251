"""Convolutions on maps of a few pixels become matrix products.

A network made for large pictures ends, on 32 × 32, in maps of 2 × 2 and 1 × 1 pixels, where most taps of a 3 × 3 kernel
meet padding and a convolution's loops have nothing to run over. There the whole layer is one dense matrix from all its
inputs to all its outputs; and a 1 × 1 convolution is a product over pixels, whatever its stride. Both are the same
function of the same weights: only the order of the sums differs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from intgrads.speed.convolutions import pads_with_zeros
from intgrads.speed.products import Product

MOST_GROWTH = 2.0
"""Largest dense matrix, in multiples of the kernel it replaces; beyond, what padding saves is lost in weights."""

FEW_PIXELS = 4
"""Largest map, in pixels, on which a product beats a 1 × 1 convolution of stride 1."""


class PixelProduct(nn.Module):
    """A 1 × 1 convolution, as a product of each pixel's channels."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.stride = convolution.stride
        self.product = Product(convolution.weight.flatten(1), convolution.bias)

    @property
    def weight(self) -> Tensor:
        """The product's, at whose type and device some networks look."""
        return self.product.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ⌈H/stride⌉, ⌈W/stride⌉), channels last."""
        rows, columns = self.stride
        pixels = x[:, :, ::rows, ::columns].permute(0, 2, 3, 1).contiguous()
        result: Tensor = self.product(pixels)
        return result.permute(0, 3, 1, 2)


class MapProduct(nn.Module):
    """A convolution on maps of one size, as a product of the whole map.

    Parameters
    ----------
    convolution : nn.Conv2d
    size : (int, int)
        Height and width of its input.
    """

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int]) -> None:
        super().__init__()
        kernel = convolution.weight.detach()
        with torch.no_grad():
            self.size = convolution(kernel.new_zeros(1, convolution.in_channels, *size)).shape[2:]
        # What each output pixel takes of each input pixel: (row, column, output channel, row, column, input channel).
        matrix = kernel.new_zeros(*self.size, len(kernel), *size, kernel.shape[1])
        for row, column in np.ndindex(*self.size):
            for i, j in np.ndindex(*kernel.shape[2:]):
                y = row * convolution.stride[0] - convolution.padding[0] + i * convolution.dilation[0]
                x = column * convolution.stride[1] - convolution.padding[1] + j * convolution.dilation[1]
                if 0 <= y < size[0] and 0 <= x < size[1]:
                    matrix[row, column, :, y, x] = kernel[:, :, i, j]
        bias = None if convolution.bias is None else convolution.bias.repeat(self.size.numel())
        self.product = Product(matrix.flatten(3).flatten(0, 2), bias)

    @property
    def weight(self) -> Tensor:
        """The product's, at whose type and device some networks look."""
        return self.product.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, height, width) to (N, C', height', width'), channels last."""
        result: Tensor = self.product(x.permute(0, 2, 3, 1).flatten(1))
        return result.view(len(x), *self.size, -1).permute(0, 3, 1, 2)


def replace_small_convolutions(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Replace, in place, each convolution that is faster as a product for inputs of one shape.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, parameters frozen.
    shape : tuple of int
        Shape of one input, without the batch.
    """
    seen: dict[nn.Module, set[tuple[torch.Size, torch.Size]]] = {}

    def see(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        if arguments:
            seen.setdefault(layer, set()).add((arguments[0].shape[1:], output.shape[1:]))

    hooks = [layer.register_forward_hook(see) for layer in module.modules() if type(layer) is nn.Conv2d]
    weight = next(module.parameters())
    with torch.no_grad():
        module(torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype))
    for hook in hooks:
        hook.remove()
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Conv2d) and len(seen.get(layer, ())) == 1:
            product = _as_product(layer, *seen[layer].copy().pop())
            if product is not None:
                module.set_submodule(name, product)


def _as_product(layer: nn.Conv2d, before: torch.Size, after: torch.Size) -> nn.Module | None:
    if layer.groups != 1 or not pads_with_zeros(layer):
        return None
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        strided, small = layer.stride != (1, 1), before[1:].numel() <= FEW_PIXELS
        return PixelProduct(layer) if strided or small else None
    if before.numel() * after.numel() <= MOST_GROWTH * layer.weight.numel():
        return MapProduct(layer, (before[1], before[2]))
    return None
