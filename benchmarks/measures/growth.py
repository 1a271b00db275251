"""How time and memory grow: with the steps, a picture's side, a text's tokens, the groups, and the requests of a batch.

One thing grows at a time, the others stay. The exponent is the slope of the logarithms between the last points, where
what does not grow no longer counts: 1 is linear. Of each point the fastest of some runs counts, and memory is that of
a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from intgrads import integrated_gradients
from intgrads.integral.attribution import PathIntegral
from intgrads.integral.batches import integrate
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.groups import group_values
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import quadrature
from networks import Case, named
from options import Options, Row, Tables
from timing import Action, in_own_process, peak_memory, seconds
from ways import ready, rows_at_once

SIDE = 224
GROUPED = (3, 224, 224)


def integral(case: Case, steps: int, device: torch.device, keep: bool) -> Action:
    """Return an integral over a network, all gradients kept or none."""
    module, x = ready(case, device, prepared=True)
    rows = rows_at_once(module, x)
    return lambda: integrated_gradients(module, x, target=0, n_steps=steps, chunk_rows=rows, keep_gradients=keep)


def of_steps(steps: int, device: torch.device) -> Action:
    """Return an integral of many steps over a fast network, each step's gradient kept."""
    return integral(named("BiT R50x1"), steps, device, keep=True)


def of_side(side: int, device: torch.device) -> Action:
    """Return an integral over a picture of a side."""
    case = named("ResNet-50")
    return integral(Case(case.name, side, 10, case.build), 10, device, keep=False)


def of_tokens(tokens: int, device: torch.device) -> Action:
    """Return an integral over a text of a length."""
    case = named("DistilBERT")
    return integral(Case(case.name, tokens, 10, case.build, text=True), 10, device, keep=False)


def of_groups(groups: int, device: torch.device) -> Action:  # noqa: ARG001 - on the CPU, wherever the network is
    """Return what groups of pixels take, beside the integral."""
    draw = np.random.default_rng(0)
    channels, *size = GROUPED
    units = int(np.prod(size))
    products, step = draw.random((2, units, channels))
    members = np.zeros((groups + 1, units), bool)
    members[draw.integers(0, groups, units), np.arange(units)] = True
    members[-1] = True
    return lambda: group_values(products, step, members, True)


def of_batch(requests: int, device: torch.device) -> Action:
    """Return several requests that are answered together."""
    module, x = ready(named("BiT R50x1"), device, prepared=True)
    rows, rule = rows_at_once(module, x), FixedNodes(quadrature("gausslegendre", 10))

    def run() -> object:
        integrals = [PathIntegral(StraightPath(x[0], 0 * x[0], (0,)), rule, True) for _ in range(requests)]
        integrate([module], integrals, rows)
        return [one.finish() for one in integrals]

    return run


AXES: dict[str, tuple[str, tuple[int, ...], Callable[[int, torch.device], Action]]] = {
    "steps": ("BiT R50x1 at 32, gradients kept", (10, 30, 100, 300, 1000), of_steps),
    "side": ("ResNet-50, 10 steps", (32, 64, 128, 224, 384, 512), of_side),
    "tokens": ("DistilBERT, 10 steps", (16, 32, 64, 128, 256, 512), of_tokens),
    "groups": ("pixels of 224 × 224, the groups alone", (10, 30, 100, 300, 1000), of_groups),
    "batch": ("BiT R50x1 at 32, 10 steps each", (1, 2, 4, 8, 16), of_batch),
}


def measure(options: Options) -> Tables:
    """Return each point of each axis."""
    rows: list[Row] = []
    for axis, (what, sizes, make) in AXES.items():
        if not options.wants(axis):
            continue
        found: list[tuple[int, float, float]] = []
        for size in sizes[: 2 if options.tiny else None]:
            if options.tiny and axis not in ("steps", "groups"):
                continue
            taken = fastest(make(size, options.device), options)
            found.append((size, taken, in_own_process(partial(memory, axis, size, options))))
            print(axis, found[-1], flush=True)
        for place, (size, taken, mib) in enumerate(found):
            of_time = of_memory = None
            if place:
                before = found[place - 1]
                of_time, of_memory = (exponent(size / before[0], found[place][k] / before[k]) for k in (1, 2))
            rows.append(
                {
                    "axis": axis,
                    "of": what,
                    "size": size,
                    "seconds": float(f"{taken:.3g}"),
                    "exponent": of_time,
                    "MiB": round(mib, 1),
                    "exponent of memory": of_memory,
                }
            )
    return {"growth": rows}


def fastest(action: Action, options: Options) -> float:
    """Return the fastest of some runs, fewer of those that take long."""
    action()
    taken: list[float] = []
    while len(taken) < options.rounds and sum(taken) < 20:
        taken.append(seconds(action, options.device))
    return min(taken)


def memory(axis: str, size: int, options: Options) -> float:
    """Return the MiB that a point needs; for a process of its own."""
    torch.set_num_threads(options.threads)
    return max(0.1, peak_memory(AXES[axis][2](size, options.device), options.device))


def exponent(size: float, value: float) -> float:
    """Return the slope between two points on logarithmic scales."""
    return round(math.log(value) / math.log(size), 2)
