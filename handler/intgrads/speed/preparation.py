"""A network is prepared once, when it is loaded, for the one shape of input that it will see.

Each step is a small transformation of its own file with a test that it leaves the function as it was. A network may do
what no test foresaw, so that each is compared, as it is loaded, with what it was made of.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import nn

from intgrads.integral.integrated_gradients import evaluation_mode
from intgrads.speed.choices import Choices
from intgrads.speed.comparison import compare_prepared
from intgrads.speed.convolutions import replace_convolutions
from intgrads.speed.folding import fold
from intgrads.speed.group_norm import replace_group_norm
from intgrads.speed.operators import choose_convolutions, choose_products, one_run

logger = logging.getLogger(__name__)

ROWS = 4
"""Of the batch by which a prepared network is timed beside the plain one."""


def prepare(
    module: nn.Module, shape: tuple[int, ...], device: torch.device, choices: Choices | None = None
) -> nn.Module:
    """Return a network of the same function, made for speed.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode. Left as it is.
    shape : tuple of int
        Shape of one input, without the batch.
    device : torch.device
        Where it will run.
    choices : Choices, optional
        How its layers are computed; measured now by default.

    Returns
    -------
    nn.Module
        In evaluation mode, parameters frozen, on the device. Where what was prepared fails, is not the same function or
        is slower, that is logged, and it is the plain network.
    """
    choices = choices or Choices()
    try:
        prepared = compare_prepared(module, lambda one: _prepared(one, shape, device, choices), shape)
    except Exception as error:  # whatever a network does with its layers
        logger.warning("the network is served as it came, slower than others: %s: %s", type(error).__name__, error)
        return _plain(module, device)
    if device.type != "cpu":
        return prepared
    rows = torch.randn(ROWS, *shape).to(next(module.parameters()).dtype)
    with evaluation_mode(module):
        ways = {"prepared": one_run(prepared, rows), "plain": one_run(module, rows)}
        faster = choices.fastest("the whole network", ways)
    return prepared if faster == "prepared" else _plain(module, device)


def _plain(module: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(module).eval().requires_grad_(False).to(device)


def _prepared(module: nn.Module, shape: tuple[int, ...], device: torch.device, choices: Choices) -> nn.Module:
    prepared = fold(module).to(device)
    if device.type == "cpu":
        # oneDNN's convolutions and PyTorch's normalisations run faster over channels that lie together.
        for layer in prepared.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)
        if next(prepared.parameters()).dtype == torch.float32:
            choose_convolutions(prepared, shape, choices)
            choose_products(prepared, choices)
        replace_group_norm(prepared)
    replace_convolutions(prepared)
    return prepared


def prepare_linear(module: nn.Module, device: torch.device, choices: Choices | None = None) -> nn.Module:
    """Return a network of text, which sees inputs of any length and has nothing to fold, made for speed.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode. Changed in place.
    device : torch.device
    choices : Choices, optional
        How its layers are computed; measured now by default.

    Returns
    -------
    nn.Module
        In evaluation mode, parameters frozen, on the device.
    """
    module = module.requires_grad_(False).to(device)
    if device.type == "cpu":
        choose_products(module, choices or Choices())
    return module
