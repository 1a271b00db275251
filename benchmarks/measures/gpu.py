"""What a GPU gives: float32, TF32, bfloat16 and hybrid, channels last, CUDA graphs, torch.compile, batches, and memory.

Each way integrates the same input; the error of its map is that from the CPU's map in float32. Times are of the whole
integral, the GPU waited for on both sides; memory is what the allocator gave out at most
(``torch.cuda.max_memory_allocated``). After :data:`MINUTES` no further network is begun.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import ways
from intgrads import integrated_gradients
from intgrads.speed.devices import memory_of_a_row
from intgrads.speed.precision import Precision, at_precision
from intgrads.texts.embeddings import FromEmbeddings
from networks import TINY, Case, named
from options import Options, Row, Tables
from timing import Action, alternate, peak_memory, seconds, spread
from torch import Tensor, nn

NAMES = ("EfficientNet-Lite0", "BiT R50x1", "ResNet-50", "ViT-small/16", "BERT base", "BiT R101x3")
COMPILED = ("EfficientNet-Lite0", "ViT-small/16")
"""Networks that torch.compile is tried on: it takes a minute each."""

BATCHES = (8, 32, 128, 512)
MINUTES = 5.5
Integral = Callable[[], Tensor]


def measure(options: Options) -> Tables:
    """Return a row for each network and way."""
    rows: list[Row] = []
    began = time.monotonic()
    for case in TINY if options.tiny else map(named, NAMES):
        if options.wants(case.name) and time.monotonic() - began < 60 * MINUTES:
            rows += of_network(case, options)
    if options.device.type == "cuda" and (options.wants("memory") or not options.only):
        rows += halved(options)
    return {"gpu": rows}


def of_network(case: Case, options: Options) -> list[Row]:
    """Return the rows of a network; ours in float32 is the first, and what the others' times are multiples of."""
    device, on_gpu = options.device, options.device.type == "cuda"
    module, x = ways.ready(case, device, prepared=True)
    batch = min(ways.rows_at_once(module, x), case.steps)
    exact = on_cpu(case)
    ours = integral(module, x, case.steps, batch)
    tries: dict[str, Callable[[], Action]] = {
        "Captum": partial(ways.captum, case, device),
        "plain": partial(ways.plain, case, device),
        "hybrid": lambda: at(module, x, "hybrid", case.steps, batch),
        "bfloat16": lambda: at(module, x, "bfloat16", case.steps, batch),
        "channels last": lambda: integral(channels_last(module), x, case.steps, batch),
    }
    if on_gpu:
        tries["TF32"] = lambda: rounded_to_tf32(ours)
        if not case.text:
            tries["CUDA graph"] = lambda: integral(graphed(module, x, batch), x, case.steps, batch)
        if case.name in COMPILED:
            tries["torch.compile"] = lambda: integral(compiled(module), x, case.steps, batch)
    if not case.text:
        for rows in (batch,) if options.tiny else BATCHES:
            tries[f"{max(BATCHES)} points, {rows} a batch"] = partial(integral, module, x, max(BATCHES) - 2, rows)
    own = row(case, "float32", ours, ratio=1, exact=exact, device=device)
    table = [own]
    print(own, flush=True)
    for name, make in tries.items():
        if options.tiny and "points" in name:
            continue
        try:
            action = make()
            _, ratios = alternate(ours, {"": action}, options.rounds, device)
            table.append(row(case, name, action, ratio=spread(ratios[""]), exact=exact, device=device))
        except Exception as error:
            # A way that a network or this version of PyTorch does not go is no reason to lose the others.
            print(f"{case.name}, {name}: {type(error).__name__}: {error}", flush=True)
            table.append({**dict.fromkeys(own), "network": case.name, "way": f"{name}: {type(error).__name__}"})
        print(table[-1], flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return table


def row(case: Case, way: str, action: Action, *, ratio: object, exact: Tensor, device: torch.device) -> Row:
    """Return what a way takes and how far its map is from the CPU's."""
    found = action()
    error = None
    if isinstance(found, Tensor) and "points" not in way:
        error = float(f"{100 * float((found.double() - exact).norm() / exact.norm()):.2g}")
    return {
        "network": case.name,
        "way": way,
        "time / float32's": ratio,
        "seconds": round(min(seconds(action, device) for _ in range(2)), 4),
        "error of the map, %": error,
        "MiB": round(peak_memory(action, device)),
    }


def integral(module: nn.Module, x: Tensor, steps: int, batch: int) -> Integral:
    """Return our integral, which gives the map, on the CPU."""
    return lambda: integrated_gradients(module, x, target=0, n_steps=steps, chunk_rows=batch).integrated_gradients[0]


def at(module: nn.Module, x: Tensor, precision: Precision, steps: int, batch: int) -> Integral:
    """Return our integral at a precision; of a text network within what takes its embeddings."""
    if isinstance(module, FromEmbeddings):
        rounded = at_precision(module.network, precision)
        inner = getattr(rounded, "module", rounded) if precision == "bfloat16" else rounded
        return integral(FromEmbeddings(inner, module.layer, module.inputs), x, steps, batch)
    return integral(at_precision(module, precision), x, steps, batch)


def on_cpu(case: Case) -> Tensor:
    """Return the map that the CPU computes in float32, of the network as it came."""
    module, x = ways.ready(case, torch.device("cpu"), prepared=False)
    return integral(module, x, case.steps, ways.rows_at_once(module, x))().double()


def channels_last(module: nn.Module) -> nn.Module:
    """Return a copy whose convolutions keep channels together: their weights' layout decides for cuDNN."""
    return copy.deepcopy(module).to(memory_format=torch.channels_last)


def compiled(module: nn.Module) -> nn.Module:
    """Return a copy that PyTorch compiles for one shape and that any other shape is compiled again for."""
    result = torch.compile(copy.deepcopy(module), dynamic=False)
    assert isinstance(result, nn.Module)
    return result


@contextmanager
def tf32() -> Iterator[None]:
    """Let products and convolutions of float32 be rounded to TF32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def rounded_to_tf32(action: Integral) -> Integral:
    """Return an action that runs with TF32."""

    def run() -> Tensor:
        with tf32():
            return action()

    return run


class Graphed(nn.Module):
    """A network whose forward and backward pass are CUDA graphs, captured for one number of rows.

    The graph's outputs and gradients lie in buffers that its next run overwrites: outputs are cloned here, and
    gradients pass through the padding, which copies them.
    """

    def __init__(self, module: nn.Module, x: Tensor, rows: int) -> None:
        super().__init__()
        self.rows = rows
        sample = x.expand(rows, *x.shape[1:]).clone().requires_grad_()
        self.graphed = torch.cuda.make_graphed_callables(copy.deepcopy(module), (sample,))

    def forward(self, points: Tensor) -> Tensor:
        """Return the outputs of as many points as were captured, or of fewer."""
        padded = torch.cat([points, points.new_zeros(self.rows - len(points), *points.shape[1:])])
        result = self.graphed(padded)
        assert isinstance(result, Tensor)
        return result[: len(points)].clone()


def graphed(module: nn.Module, x: Tensor, rows: int) -> nn.Module:
    """Return a network whose passes are CUDA graphs."""
    return Graphed(module, x, rows)


def halved(options: Options) -> list[Row]:
    """Let memory run out, and see the batch halved and the map unchanged; and what was foreseen beside what was taken.

    The allocator is limited to what is held and a part of the batch, so that this fits beside other users of a GPU.
    """
    case, device = named("BiT R50x1"), options.device
    module, x = ways.ready(case, device, prepared=True)
    points = 512
    foreseen = 2 * points * memory_of_a_row(module, tuple(x.shape[1:]), device).saved
    whole = integral(module, x, points - 2, points)
    expected = whole().double()
    table: list[Row] = []
    taken = peak_memory(whole, device)
    free, total = torch.cuda.mem_get_info(device)
    told: Row = {"network": case.name, "time / float32's": None, "seconds": None}
    table.append(
        told
        | {
            "way": f"memory: {points} rows a batch, {foreseen / 2**20:.0f} MiB foreseen, {free / 2**30:.0f} GiB free",
            "error of the map, %": None,
            "MiB": round(taken),
        }
    )
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, (held + taken * 2**20 / 3) / total), device)
    try:
        found = whole().double()
        most = torch.cuda.max_memory_allocated(device) / 2**20
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    error = 100 * float((found - expected).norm() / expected.norm())
    table.append(
        told
        | {
            "way": "memory: the same with a third of that, the batch halved until it fits",
            "error of the map, %": float(f"{error:.2g}"),
            "MiB": round(most),
        }
    )
    columns = ("network", "way", "time / float32's", "seconds", "error of the map, %", "MiB")
    return [{column: of_row[column] for column in columns} for of_row in table]
