"""The floor under a network's time: its products at the faster library's rate on this machine, for their own shapes.

Each linear layer and convolution of one pass is a product of some shape, and so is its gradient of the input; each
shape is timed alone, by PyTorch's BLAS and by oneDNN, and the faster counts. What the counter of FLOPs finds besides,
as attention's products, counts at the best rate of all. A convolution may be computed with fewer operations than its
product has (Winograd), and layers that multiply nothing count for nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, int, int]
"""Rows, depth and columns of a product."""

LARGEST = 2**32
"""FLOPs of the largest product that is timed: of larger ones fewer rows are, at the same rate."""


def floor_seconds(module: nn.Module, x: Tensor, gradients: int, outputs: int, batch: int) -> float:
    """Return the least seconds that a network's products take.

    Parameters
    ----------
    module : nn.Module
        As it came, parameters frozen.
    x : Tensor, (1, *shape)
    gradients, outputs : int
        Points whose gradients are wanted, with their outputs, and further ones whose outputs are enough.
    batch : int
        Points computed at once.
    """
    shapes: Counter[Shape] = Counter()
    hooks = [layer.register_forward_hook(partial(_note, shapes)) for layer in module.modules()]
    point = x.clone().requires_grad_() * 1  # the counter cannot follow a gradient to a leaf
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(module(point)[:, 0].sum(), point)
    for hook in hooks:
        hook.remove()
    batch = min(batch, gradients)
    total, covered, best = 0.0, 0, 0.0
    for (rows, depth, columns), times in shapes.items():
        flops = 2 * rows * depth * columns
        # Forward, and the gradient of the input.
        for inner, outer, points in ((depth, columns, gradients + outputs), (columns, depth, gradients)):
            rate = _rate((rows * batch, inner, outer), x.device)
            total += points * times * flops / rate
            covered += times * flops
            best = max(best, rate)
    rest = max(0, counter.get_total_flops() - covered) * (gradients + outputs / 2)
    return total + (rest / best if best else 0.0)


def _note(shapes: Counter[Shape], layer: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
    if isinstance(layer, nn.Linear):
        shapes[arguments[0].numel() // layer.in_features, layer.in_features, layer.out_features] += 1
    elif isinstance(layer, nn.Conv2d) and layer.groups == 1:
        depth = layer.in_channels * math.prod(layer.kernel_size)
        shapes[output.shape[0] * output.shape[2] * output.shape[3], depth, layer.out_channels] += 1


def _rate(shape: Shape, device: torch.device) -> float:
    rows, depth, columns = shape
    rows = max(1, min(rows, LARGEST // (2 * depth * columns)))
    a, b = torch.rand(rows, depth, device=device), torch.rand(columns, depth, device=device)
    ways: list[Callable[[], object]] = [lambda: a @ b.t()]
    if device.type == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return 2 * rows * depth * columns / min(_fastest(way, device) for way in ways)


def _fastest(way: Callable[[], object], device: torch.device, least: float = 0.02, runs: int = 3) -> float:
    """Return the seconds of a product, by the fastest of some runs that each take long enough to be timed."""
    way()
    times, best = 1, math.inf
    while runs:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(times):
            way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - started
        best = min(best, taken / times)
        if taken < least and times < 1000:
            times = min(1000, max(2 * times, int(1.2 * times * least / max(taken, 1e-6))))
            continue
        runs -= 1
    return best
