"""A network is prepared once, when it is loaded, for the one shape of input that it will see.

Each step is a small transformation of its own file with a test that it leaves the function as it was.
"""

from __future__ import annotations

import torch
from torch import nn

from intgrads.convolutions import replace_convolutions
from intgrads.folding import fold
from intgrads.group_norm import replace_group_norm
from intgrads.products import replace_linear
from intgrads.small_maps import replace_small_convolutions
from intgrads.space_to_depth import replace_strided_convolutions


def prepare(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> nn.Module:
    """Return a network of the same function, made for speed.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode. Left as it is.
    shape : tuple of int
        Shape of one input, without the batch.
    device : torch.device
        Where it will run.

    Returns
    -------
    nn.Module
        In evaluation mode, parameters frozen, on the device.
    """
    prepared = fold(module).to(device)
    if device.type == "cpu":
        # oneDNN's convolutions and PyTorch's normalisations run faster over channels that lie together.
        for layer in prepared.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)
        replace_small_convolutions(prepared, shape)
        replace_strided_convolutions(prepared)
        replace_linear(prepared)
        replace_group_norm(prepared)
    replace_convolutions(prepared)
    return prepared


def prepare_linear(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a network of text, which sees inputs of any length and has nothing to fold, made for speed.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode. Changed in place.
    device : torch.device

    Returns
    -------
    nn.Module
        In evaluation mode, parameters frozen, on the device.
    """
    module = module.requires_grad_(False).to(device)
    if device.type == "cpu":
        replace_linear(module)
    return module
