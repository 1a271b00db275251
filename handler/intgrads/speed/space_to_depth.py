"""A strided convolution of a picture's few channels, as one of stride 1 over blocks of pixels.

The blocks of s × s pixels that a stride of s steps over become channels (the space-to-depth stem of Ying et al., "Image
Classification at Supercomputer Scale", arXiv 1811.06992, section 3). With three channels a convolution's loops have
little to run over, most of all backward, where a gradient of three channels comes out; with 3 s² they have more. It is
the same function of the same weights: only the order of the sums differs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from intgrads.speed.convolutions import Convolution, pads_with_zeros, remade

FEW_CHANNELS = 4
"""Most channels of a picture; with eight there is little left to gain."""

MOST_GROWTH = 2.0
"""Largest growth of a kernel that zeros fill up to whole blocks; 1 × 1 at stride 2 would grow to 4 and lose."""


class SpaceToDepthConvolution(nn.Module):
    """A convolution of stride s > 1, as a convolution of stride 1 over blocks of s × s pixels.

    Parameters
    ----------
    layer : nn.Conv2d
        For which :func:`fits` holds.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.stride, self.kernel_size, self.filled = layer.stride[0], layer.kernel_size, _filled(layer)
        self.padding = [int(padding) for padding in layer.padding]
        extra = [filled - size for filled, size in zip(self.filled, layer.kernel_size, strict=True)]
        kernel = functional.pad(layer.weight.detach(), (0, extra[1], 0, extra[0]))
        kernel = functional.pixel_unshuffle(kernel, self.stride)
        with torch.device("meta"):
            plain = nn.Conv2d(kernel.shape[1], len(kernel), kernel.shape[2:], bias=layer.bias is not None)  # type: ignore[arg-type]
        plain.bias = layer.bias
        self.convolution = remade(plain, kernel.contiguous(memory_format=torch.channels_last), Convolution)

    @property
    def weight(self) -> Tensor:
        """The convolution's, at whose type and device some networks look."""
        return self.convolution.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W'), channels last."""
        result: Tensor = self.convolution(self.blocks(x))
        return result

    def blocks(self, x: Tensor) -> Tensor:
        """Return the blocks of (N, C, H, W), padded, as channels, (N, s² C, ⌈H/s⌉, ⌈W/s⌉) or nearly so."""
        around = []
        for size, padding, kernel, filled in zip(x.shape[2:], self.padding, self.kernel_size, self.filled, strict=True):
            steps = (size + 2 * padding - kernel) // self.stride
            # What lies beyond the last step is cut off where it is not padded.
            around.append((padding, steps * self.stride + filled - size - padding))
        blocks = functional.pixel_unshuffle(functional.pad(x, (*around[1], *around[0])), self.stride)
        return blocks.contiguous(memory_format=torch.channels_last)


def _filled(layer: nn.Conv2d) -> list[int]:
    """Return height and width of a kernel filled up to whole blocks."""
    return [-(-size // layer.stride[0]) * layer.stride[0] for size in layer.kernel_size]


def fits(layer: nn.Conv2d) -> bool:
    """Whether a convolution is one of a picture that may gain from blocks."""
    height, width = _filled(layer)
    return (
        layer.in_channels <= FEW_CHANNELS
        and layer.groups == 1
        and layer.stride[0] == layer.stride[1] > 1
        and layer.dilation == (1, 1)
        and pads_with_zeros(layer)
        and height * width <= MOST_GROWTH * layer.weight[0, 0].numel()
    )
