"""Convolutions that pad as TensorFlow does, for inputs of one size, as plain ones.

TensorFlow's "same" padding depends on the size of the input, and of a strided convolution it is often uneven: one row
more below than above. PyTorch then pads in a step of its own, whose copies are made forward and backward. For one size
the padding is a constant, and an uneven one is an even one with rows of zeros in the kernel: what stands above the
picture is multiplied by them.
"""

from __future__ import annotations

import copy

from timm.layers import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import nn
from torch.nn import functional

from intgrads.speed.convolutions import remade


def with_constant_padding(layer: Conv2dSame, size: tuple[int, int]) -> nn.Conv2d | None:
    """Return the convolution as a plain one.

    Parameters
    ----------
    layer : Conv2dSame
        Of timm.
    size : (int, int)
        Height and width of its input.

    Returns
    -------
    nn.Conv2d or None
        None where a dilated kernel cannot take the uneven rest.
    """
    settings = zip(size, layer.kernel_size, layer.stride, layer.dilation, strict=True)
    totals = [get_same_padding(*one) for one in settings]
    rests = [total % 2 for total in totals]
    if any(rest and dilation > 1 for rest, dilation in zip(rests, layer.dilation, strict=True)):
        return None
    # PyTorch takes the padding from the left and the top of these, timm's rule gives the odd row to the bottom.
    like = copy.copy(layer)
    like.padding = tuple(-(-total // 2) for total in totals)
    like.kernel_size = tuple(kernel + rest for kernel, rest in zip(layer.kernel_size, rests, strict=True))
    return remade(like, functional.pad(layer.weight.detach(), (rests[1], 0, rests[0], 0)), nn.Conv2d)
