"""What a network computes in a second, lately: by which the work of a request is known before it is done.

Work is counted in gradients of one row, a forward and a backward pass. The fastest of the last few measurements counts:
what is refused for want of time should have had no chance, however busy the machine was a moment ago.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Hashable

import torch
from torch import nn

FORWARD = 1 / 3
"""Part of a gradient's work that its forward pass is; a backward pass to the input takes about twice as long."""

REMEMBERED = 8

TOGETHER, QUICK = 4, 0.1
"""Rows that are timed together, of a network whose gradient of one takes less than so many seconds."""


def work_of_a_point(targets: int) -> float:
    """Return the work at a point: one forward pass, and a backward pass for each target."""
    return FORWARD + (1 - FORWARD) * targets


class Pace:
    """Seconds that a gradient of one row took, for each network and size of input."""

    def __init__(self) -> None:
        self._lately: dict[Hashable, dict[int, deque[float]]] = {}

    def knows(self, network: Hashable) -> bool:
        """Whether anything was learned of a network."""
        return network in self._lately

    def learn(self, network: Hashable, size: int, work: float, seconds: float) -> None:
        """Take what some work took, on inputs of so many numbers."""
        of_network = self._lately.setdefault(network, {})
        of_network.setdefault(size, deque(maxlen=REMEMBERED)).append(seconds / work)

    def foretell(self, network: Hashable, size: int, work: float) -> float:
        """Return the seconds that some work will take at least; in proportion, for a size that was never seen."""
        of_network = self._lately.get(network)
        if not of_network:
            return 0.0
        nearest = min(of_network, key=lambda known: abs(known - size))
        return work * min(of_network[nearest]) * size / nearest


def seconds_of_a_gradient(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> float:
    """Return what the gradient of one row takes, at its fastest.

    The first one warms up. Of a quick network some rows together are timed too, since points are computed together: one
    by one they would take several times as long, and what is foretold would be no least.
    """
    fastest = math.inf
    for rows in (1, 1, TOGETHER):
        if rows > 1 and fastest > QUICK:
            break
        started = time.perf_counter()
        points = torch.zeros(rows, *shape, device=device, requires_grad=True)
        output = module(points)
        torch.autograd.grad(output[:, 0].sum(), points)[0].cpu()
        fastest = min(fastest, (time.perf_counter() - started) / rows)
    return fastest
