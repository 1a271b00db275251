"""Convolutions that are matrix products: of 1 × 1 pixels, and of maps of a few pixels.

A 1 × 1 convolution is a product over pixels, whatever its stride. And a network made for large pictures ends, on
32 × 32, in maps of 2 × 2 and 1 × 1 pixels, where most taps of a 3 × 3 kernel meet padding and a convolution's loops
have nothing to run over. There the whole layer is one dense matrix from all its inputs to all its outputs. Both are the
same function of the same weights: only the order of the sums differs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from intgrads.speed.products import Product

MOST_GROWTH = 2.0
"""Largest dense matrix, in multiples of the kernel it replaces; beyond, what padding saves is lost in weights."""

FEW_PIXELS = 16
"""Largest map, in pixels, on which a product may beat a 1 × 1 convolution of stride 1."""


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
        if rows > 1 or columns > 1:  # a slice of all is copied backward
            x = x[:, :, ::rows, ::columns]
        result: Tensor = self.product(x.permute(0, 2, 3, 1).contiguous())
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


def pixel_product(layer: nn.Conv2d, before: torch.Size) -> PixelProduct | None:
    """Return a 1 × 1 convolution as a product of pixels, where it is strided or its map small.

    Elsewhere a convolution does as well.

    Parameters
    ----------
    layer : nn.Conv2d
    before : torch.Size, (C, H, W)
        Of its input.
    """
    fits = layer.kernel_size == (1, 1) and layer.padding == (0, 0) and layer.groups == 1
    return PixelProduct(layer) if fits and (layer.stride != (1, 1) or before[1:].numel() <= FEW_PIXELS) else None


def map_product(layer: nn.Conv2d, before: torch.Size, after: torch.Size) -> MapProduct | None:
    """Return a convolution as a product of whole maps, where these are small enough.

    Parameters
    ----------
    layer : nn.Conv2d
        It pads with zeros.
    before, after : torch.Size, (C, H, W) and (C', H', W')
        Of its input and output.
    """
    if layer.groups != 1 or before.numel() * after.numel() > MOST_GROWTH * layer.weight.numel():
        return None
    return MapProduct(layer, (before[1], before[2]))
