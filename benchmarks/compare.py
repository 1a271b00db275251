"""Ours beside its peers, in one run: ``.venv/bin/python benchmarks/compare.py [--threads N] [--rounds N]``.

Fifty Gauss-Legendre steps of one picture, every way returning the integral and its convergence delta:

- ours, with every step's gradient;
- Captum's IntegratedGradients, all steps at once;
- the predecessors' way: Captum's integral with parameters that want gradients, and a second pass for the gradients of
  the steps.

The ways alternate, so that a machine that slows down slows all of them; the ratio of each round is what counts, and
their median is reported. The floor is the FLOPs of one forward pass and its gradient of the input, over the rate of
matrix products measured in the same run. Peak memory is taken in a process of its own for each way, less what the
process held before.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "handler"))

from intgrads import integrated_gradients, quadrature  # noqa: E402
from intgrads.devices import chunk_rows, memory_of_a_row  # noqa: E402
from intgrads.preparation import prepare  # noqa: E402
from intgrads.products import Product  # noqa: E402
from intgrads.settings import Settings  # noqa: E402
from report import report  # noqa: E402

STEPS = 50
NETWORKS = {"resnetv2_50x1_bit": 32, "tf_efficientnet_lite0": 224}
"""Networks of timm with random weights, and the side of their pictures."""


def network(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network of timm and a picture for it."""
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10).eval(), torch.rand(1, 3, NETWORKS[name], NETWORKS[name])


def ours(module: nn.Module, x: Tensor) -> Callable[[], object]:
    """Prepare as a worker does when it loads; return what it does for a request."""
    shape = tuple(x.shape[1:])
    prepared = prepare(module, shape, x.device)
    rows = chunk_rows(Settings().memory_budget_mb, memory_of_a_row(prepared, shape, x.device))
    return lambda: integrated_gradients(prepared, x, target=0, n_steps=STEPS, chunk_rows=rows)


def captum(module: nn.Module, x: Tensor) -> Callable[[], object]:
    """Return Captum's integral and delta, all steps at once."""
    method = IntegratedGradients(module.requires_grad_(False))
    return lambda: method.attribute(x, 0 * x, target=0, n_steps=STEPS, return_convergence_delta=True)


def predecessor(module: nn.Module, x: Tensor) -> Callable[[], object]:
    """Do as the old servers did, in evaluation mode for the sake of the numbers."""
    method = IntegratedGradients(module.requires_grad_(True))
    alphas = torch.tensor(quadrature("gausslegendre", STEPS).alphas, dtype=x.dtype).view(-1, 1, 1, 1)

    def run() -> object:
        attributions = method.attribute(x, 0 * x, target=0, n_steps=STEPS, return_convergence_delta=True)
        points = (alphas * x).requires_grad_()
        return attributions, torch.autograd.grad(module(points)[:, 0].sum(), points)

    return run


WAYS = {"ours": ours, "captum": captum, "predecessor": predecessor}


def gemm_rate(size: int = 1024, runs: int = 8) -> float:
    """Return the FLOPs a second of a float32 matrix product, by the faster of PyTorch's BLAS and oneDNN."""
    a, b = torch.rand(2, size, size)
    product = Product(b, None)
    best = min(_seconds(way) for way in (lambda: a @ b, lambda: product(a)) for _ in range(runs))
    return 2 * size**3 / best


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def floor_flops(module: nn.Module, x: Tensor) -> int:
    """Return the FLOPs of all steps, forward and backward to the input."""
    point = x.clone().requires_grad_() * 1  # the counter cannot follow a gradient to a leaf
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(module.requires_grad_(False)(point)[:, 0].sum(), point)
    return STEPS * int(counter.get_total_flops())


def peak_memory(name: str, way: str, threads: int) -> float:
    """Return the MiB that a way needs beyond the network and the libraries, in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--memory", name, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_memory(name: str, way: str) -> None:
    """Print the growth of this process's peak while it computes once."""
    module, x = network(name)
    action = WAYS[way](module, x)
    ctypes.CDLL(None).malloc_trim(0)  # give back what loading freed, or the action would use it unseen
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before = memory("VmRSS")
    action()
    print((memory("VmHWM") - before) / 1024)


def memory(name: str) -> int:
    """Return a line of Linux's account of this process, in KiB; getrusage would count its parent's peak too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def compare(name: str, threads: int, rounds: int) -> dict[str, object]:
    """Return one network's figures."""
    module, x = network(name)
    floor = floor_flops(module, x) / gemm_rate()
    actions = {way: make(network(name)[0], x) for way, make in WAYS.items()}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for action in actions.values():
        action()
    for _ in range(rounds):
        for way in ("ours", "captum", "ours", "predecessor"):
            seconds[way].append(_seconds(actions[way]))
    rate = {way: min(times) for way, times in seconds.items()}
    own = [min(pair) for pair in zip(seconds["ours"][::2], seconds["ours"][1::2], strict=True)]
    result: dict[str, object] = {"network": name, "side": NETWORKS[name], "threads": threads}
    for way in ("captum", "predecessor"):
        result[f"{way} / ours"] = round(statistics.median(t / o for t, o in zip(seconds[way], own, strict=True)), 2)
    result["ours / floor"] = round(rate["ours"] / floor, 2)
    for way in WAYS:
        result[f"MiB {way}"] = round(peak_memory(name, way, threads))
    return result


def main() -> None:
    """Run and print a table; write the same as JSON beside this file."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--threads", type=int, default=1)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--memory", nargs=2, metavar=("NETWORK", "WAY"), help=argparse.SUPPRESS)
    given = parse.parse_args()
    torch.set_num_threads(given.threads)
    if given.memory:
        print_memory(*given.memory)
        return
    results = [compare(name, given.threads, given.rounds) for name in NETWORKS]
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "torch": torch.__version__,
        "steps": STEPS,
        "rounds": given.rounds,
    }
    report(f"{given.threads}-threads", {"machine": machine}, results)


if __name__ == "__main__":
    main()
