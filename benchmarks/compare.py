"""Ours beside its peers, in one run: ``.venv/bin/python benchmarks/compare.py [--threads N] [--rounds N]``.

Fifty Gauss-Legendre steps of one picture:

- ours: the integral, its convergence delta and local error, and every step's gradient;
- Captum's IntegratedGradients, all steps at once, its parameters frozen;
- the predecessors' way: Captum's integral with parameters that want gradients, and a second pass for the gradients of
  the steps. Their BiT was its authors' code, which standardises the weights of each convolution with several operators
  at every pass; timm's does it with one, so that their way is also run on timm's network (of EfficientNet there is but
  one).

The peers run with the convergence delta, as ours always does, and without: Captum takes it by two more forward passes,
and the predecessors never did. Each is run between two of ours, so that a machine that slows down slows all of them;
the median of the rounds' ratios is reported. The floor is the FLOPs of one forward pass and its gradient of the input,
over the rate of matrix products measured in the same run. Peak memory is taken in a process of its own for each way,
less what the process held before.
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
from functools import partial
from pathlib import Path

import timm
import torch
from captum.attr import IntegratedGradients
from timm.layers import StdConv2d
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "handler"))

from intgrads import integrated_gradients, quadrature  # noqa: E402
from intgrads.settings import Settings  # noqa: E402
from intgrads.speed.convolutions import remade  # noqa: E402
from intgrads.speed.devices import chunk_rows, memory_of_a_row  # noqa: E402
from intgrads.speed.layers import layers  # noqa: E402
from intgrads.speed.preparation import prepare  # noqa: E402
from intgrads.speed.products import Product  # noqa: E402
from report import report  # noqa: E402

STEPS = 50
NETWORKS = {"resnetv2_50x1_bit": 32, "resnetv2_101x3_bit": 32, "tf_efficientnet_lite0": 224}
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


def captum(module: nn.Module, x: Tensor, delta: bool = True) -> Callable[[], object]:
    """Return Captum's integral, all steps at once."""
    method = IntegratedGradients(module.requires_grad_(False))
    return lambda: method.attribute(x, 0 * x, target=0, n_steps=STEPS, return_convergence_delta=delta)


def predecessor(module: nn.Module, x: Tensor, delta: bool = True) -> Callable[[], object]:
    """Do as the old servers did on a network, in evaluation mode for the sake of the numbers."""
    method = IntegratedGradients(module.requires_grad_(True))
    alphas = torch.tensor(quadrature("gausslegendre", STEPS).alphas, dtype=x.dtype).view(-1, 1, 1, 1)

    def run() -> object:
        attributions = method.attribute(x, 0 * x, target=0, n_steps=STEPS, return_convergence_delta=delta)
        points = (alphas * x).requires_grad_()
        return attributions, torch.autograd.grad(module(points)[:, 0].sum(), points)

    return run


class _Standardised(nn.Conv2d):
    """A convolution whose weights are standardised (arXiv 1903.10520) as in the code of BiT's authors."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        result: Tensor = self._conv_forward(x, (self.weight - mean) / torch.sqrt(variance + 1e-10), self.bias)
        return result


def on_their_network(module: nn.Module, x: Tensor, delta: bool = True) -> Callable[[], object]:
    """Do as the old server did, on a network of timm that computes as theirs did."""
    expected = module(x)
    for parent, name, layer in layers(module):
        if isinstance(layer, StdConv2d):
            setattr(parent, name, remade(layer, layer.weight, _Standardised))
    torch.testing.assert_close(module(x), expected, rtol=1e-3, atol=1e-3)
    return predecessor(module, x, delta)


PEERS: dict[str, Callable[[nn.Module, Tensor], Callable[[], object]]] = {
    "Captum": captum,
    "Captum, no delta": partial(captum, delta=False),
    "predecessor": on_their_network,
    "predecessor, no delta": partial(on_their_network, delta=False),
    "predecessor, timm's network": predecessor,
}
WAYS = {"ours": ours, **PEERS}


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
    """Return one network's figures; a peer's time is a multiple of ours."""
    module, x = network(name)
    floor = floor_flops(module, x) / gemm_rate()
    own = ours(network(name)[0], x)
    result: dict[str, object] = {"network": name, "side": NETWORKS[name], "threads": threads}
    best = _seconds(own)
    for peer, make in PEERS.items():
        theirs = make(network(name)[0], x)
        theirs()
        taken = [[_seconds(action) for action in (own, theirs, own)] for _ in range(rounds)]
        result[peer] = round(statistics.median(2 * its / (before + after) for before, its, after in taken), 2)
        best = min(best, *(min(before, after) for before, _, after in taken))
    result["ours / floor"] = round(best / floor, 2)
    for way in ("ours", "Captum", "predecessor"):
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
