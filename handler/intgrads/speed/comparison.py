"""Whether a prepared network is the plain one: compared as it is loaded, in float64, where rounding hides nothing.

Rounding flips ReLUs, so that in float32 two forms of one network differ by percents, as much as a small mistake. In
float64 they agree to 1e-8 or are not the same function. What computes in float32 alone (oneDNN's products) is held to
the plain network's own rounding. Of a network too large for a copy in float64 one layer at a time is turned into one,
so that its outputs are compared in float64 as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intgrads.integral.integrated_gradients import evaluation_mode

SAME = 1e-8
"""Largest difference in float64, as a part of the largest value."""

SAME_ROUNDING = 10.0
"""How many times as much as the plain network's a prepared network's rounding in float32 may be."""

LEAST_OUTPUT, LEAST_GRADIENT = 0.01, 0.3
"""Differences that rounding may always make: of a gradient much, where it flips a single ReLU of a small network."""

SAME_BY_LAYERS = 1e-4
"""Largest difference in float64 of outputs whose weights were folded and rounded to float32."""

SAME_GRADIENT = 0.5
"""Largest difference in float32 of the gradient of a network that is too large for a copy in float64."""

MOST_PARAMETERS = 2**28
"""Of a network that is copied in float64: 2 GiB then."""


@dataclass(frozen=True)
class Behaviour:
    """What a network makes of N probes: all outputs, (N, C), and the gradient of a mixture of them, (N, *shape)."""

    outputs: Tensor
    gradients: Tensor


def probes(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return rows that look like inputs, (4, *shape): dark, bright, noisy, and a dark half beside a bright one."""
    noise = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edge = torch.where(torch.linspace(-1, 1, shape[-1], dtype=torch.float64) > 0, 2.0, -2.0)
    return torch.stack([0.2 * noise[0] - 2, 0.2 * noise[1] + 2, noise[2], edge + 0.5 * noise[3]]).to(dtype)


def behaviour(module: nn.Module, rows: Tensor) -> Behaviour:
    """Return what a network makes of some rows, on the CPU.

    Two at a time: PyTorch's own batch normalisation errs of a single one, see ChannelAffine, and more take memory.

    Raises
    ------
    ValueError
        If the network is no function of its input: it changes its own buffers.
    """
    device = next(module.parameters()).device
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    outputs, gradients = [], []
    for first in range(0, len(rows), 2):
        x = rows[first : first + 2].to(device).detach().requires_grad_()
        output = module(x)
        generator = torch.Generator().manual_seed(first)
        mixture = torch.randn(output.shape[1], generator=generator, dtype=torch.float64).to(output)
        outputs.append(output.detach().cpu())
        gradients.append(torch.autograd.grad((output @ mixture).sum(), x)[0].cpu())
    if any(not torch.equal(buffer, before[name]) for name, buffer in module.named_buffers()):
        raise ValueError("it changes its own buffers as it runs, and is no function of its input")
    return Behaviour(torch.cat(outputs), torch.cat(gradients))


def compare_prepared(plain: nn.Module, prepare: Callable[[nn.Module], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    """Prepare a network and return it if it is the same function.

    Parameters
    ----------
    plain : nn.Module
        On the CPU. Left as it is.
    prepare : callable
        From a network to what is made of it, on whatever device. Leaves it as it is.
    shape : tuple of int
        Of one input, without the batch.

    Raises
    ------
    ValueError
        If it is not, or the plain network is no function of its input.
    """
    dtype = next(plain.parameters()).dtype
    rows = probes(shape, dtype)
    expected = None
    if sum(parameter.numel() for parameter in plain.parameters()) <= MOST_PARAMETERS:
        precise = copy.deepcopy(plain).double()
        with evaluation_mode(precise):
            expected = behaviour(precise, rows.double())
            _finite(expected, "in float64")
            _same(behaviour(prepare(precise), rows.double()), expected, SAME, SAME)
        del precise
    if dtype == torch.float64:
        return prepare(plain)
    with evaluation_mode(plain):
        rounded = behaviour(plain, rows)
    if expected is None:
        _finite(rounded, "in float32")
    prepared = prepare(plain)
    found = behaviour(prepared, rows)
    if expected is None:
        _same(found, rounded, LEAST_OUTPUT, SAME_GRADIENT)
        outputs = [_outputs_by_layers(network, rows.double()) for network in (plain, prepared)]
        _same_outputs(outputs[1], outputs[0], SAME_BY_LAYERS)
    elif torch.isfinite(rounded.outputs).all():
        # Where float32 overflows there is nothing to hold it to; answers tell of outputs that are no numbers.
        output, gradient = _differences(rounded, expected)
        most_output = max(SAME_ROUNDING * output, LEAST_OUTPUT)
        _same(found, expected, most_output, max(SAME_ROUNDING * gradient, LEAST_GRADIENT))
    return prepared


def _outputs_by_layers(module: nn.Module, rows: Tensor) -> Tensor:
    """Return the outputs in float64 of a network whose layers take their turns at it, on the CPU."""
    own: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def turn(layer: nn.Module) -> None:
        held = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        # What they were is kept, not made again: that may lie in a file, which takes no memory of its own.
        own[layer] = [(one, one.data) for one in held if one.is_floating_point()]
        for one, data in own[layer]:
            one.data = data.double()

    def turn_back(layer: nn.Module) -> None:
        for one, data in own.pop(layer, ()):
            one.data = data

    handles = []
    for layer in module.modules():
        handles.append(layer.register_forward_pre_hook(lambda one, _: turn(one)))
        handles.append(layer.register_forward_hook(lambda one, _, __: turn_back(one), always_call=True))
    try:
        with evaluation_mode(module), torch.no_grad():
            device = next(module.parameters()).device
            return torch.cat([module(row[None].to(device)).cpu() for row in rows])
    finally:
        for handle in handles:
            handle.remove()


def _finite(found: Behaviour, where: str) -> None:
    if not torch.isfinite(found.outputs).all():
        raise ValueError(f"its outputs are not finite numbers {where}, so that nothing can be compared with it")


def _differences(found: Behaviour, expected: Behaviour) -> tuple[float, float]:
    """Return by how much outputs and gradients differ, as parts of the largest output and of the gradients' norm."""
    slope = expected.gradients.double()
    gradient = (found.gradients.double() - slope).flatten(1).norm(dim=1) / slope.flatten(1).norm(dim=1).clamp_min(
        1e-300
    )
    return _difference(found.outputs, expected.outputs), gradient.max().item()


def _same_outputs(found: Tensor, expected: Tensor, most: float) -> None:
    output = _difference(found, expected)
    if not output <= most:
        raise ValueError(f"prepared, it has other outputs (by {output:.1g} of the largest)")


def _difference(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).abs().max() / expected.abs().max()).item()


def _same(found: Behaviour, expected: Behaviour, most_output: float, most_gradient: float) -> None:
    _same_outputs(found.outputs, expected.outputs, most_output)
    _, gradient = _differences(found, expected)
    if not gradient <= most_gradient:
        raise ValueError(f"prepared, it has another gradient (by {gradient:.1g} of it)")
