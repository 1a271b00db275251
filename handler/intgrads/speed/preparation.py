"""A network is prepared once, when it is loaded, for the one shape of input that it will see.

Each step is a small transformation of its own file with a test that it leaves the function as it was. A network may do
what no test foresaw, so that each is compared, as it is loaded, with what it was made of.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import nn

from intgrads.speed.comparison import compare_prepared
from intgrads.speed.convolutions import replace_convolutions
from intgrads.speed.folding import fold
from intgrads.speed.group_norm import replace_group_norm
from intgrads.speed.products import replace_linear
from intgrads.speed.small_maps import replace_small_convolutions
from intgrads.speed.space_to_depth import replace_strided_convolutions

logger = logging.getLogger(__name__)


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
        In evaluation mode, parameters frozen, on the device. Where what was prepared fails or is not the same function,
        that is logged, and it is the plain network.
    """
    try:
        return compare_prepared(module, lambda plain: _prepared(plain, shape, device), shape)
    except Exception as error:  # whatever a network does with its layers
        logger.warning("the network is served as it came, slower than others: %s: %s", type(error).__name__, error)
        return copy.deepcopy(module).eval().requires_grad_(False).to(device)


def _prepared(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> nn.Module:
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
