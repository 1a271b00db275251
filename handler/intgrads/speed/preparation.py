"""A network is prepared once, when it is loaded, for the one shape of input that it will see.

Each step is a small transformation of its own file with a test that it leaves the function as it was. A network may do
what no test foresaw, so that each is compared, as it is loaded, with what it was made of.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, nn

from intgrads.integral.integrated_gradients import evaluation_mode
from intgrads.speed.convolutions import replace_convolutions
from intgrads.speed.folding import fold
from intgrads.speed.group_norm import replace_group_norm
from intgrads.speed.products import replace_linear
from intgrads.speed.small_maps import replace_small_convolutions
from intgrads.speed.space_to_depth import replace_strided_convolutions

logger = logging.getLogger(__name__)

SAME_OUTPUT, SAME_GRADIENT = 0.02, 0.5
"""Largest relative difference of a prepared network in float32.

Wide, for rounding flips ReLUs: of LaNet with random weights outputs differ by 2e-4 and gradients by 0.1, as much as
the plain network in float32 differs from itself in float64. A layer mistaken for another makes more.
"""


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
        prepared = _prepared(module, shape, device)
        _check(module, prepared, shape, device)
    except Exception as error:  # whatever a network does with its layers
        logger.warning("the network is served as it came, slower than others: %s: %s", type(error).__name__, error)
        return copy.deepcopy(module).eval().requires_grad_(False).to(device)
    return prepared


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


def _check(plain: nn.Module, prepared: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
    """Raise ValueError if two networks differ on two random rows, or in a gradient there."""
    dtype = next(plain.parameters()).dtype
    # Two, since PyTorch's own batch normalisation errs of a single one; see ChannelAffine.
    rows = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    with evaluation_mode(plain):
        expected, slope = _with_gradient(plain, rows)
    found, prepared_slope = (tensor.to("cpu") for tensor in _with_gradient(prepared, rows.to(device)))
    if not torch.isfinite(expected).all():
        raise ValueError(
            "its outputs are not finite numbers for random inputs, so that nothing can be compared with it"
        )
    if not (found - expected).abs().max() <= SAME_OUTPUT * expected.abs().max():
        raise ValueError("prepared, it has other outputs")
    if not (prepared_slope - slope).norm() <= SAME_GRADIENT * slope.norm():
        raise ValueError("prepared, it has another gradient")


def _with_gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.requires_grad_()
    output = module(x)
    return output.detach(), torch.autograd.grad(output[:, 0].sum(), x)[0]


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
