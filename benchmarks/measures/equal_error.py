"""At equal error: what ours and Captum need to bring the map itself to 10, 5 and 2 %.

The error of a map is the L2 norm of its difference from the same network's map with 2,000 Gauss-Legendre nodes, over
the norm of that. Of ours the largest tolerance of a ladder is taken whose map meets the error; of Captum's rules the
fewest steps of a ladder from which on the next two meet it as well, so that luck at one number does not count. Both
get the best of their ladder, which no caller knows beforehand. Captum takes all its steps in batches of the rows that
ours takes, which is the faster way for it, and computes its delta: a caller who wants a certain error looks at it.

References are kept in ``~/.cache/intgrads-benchmarks``, and computed again where the network or the input changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from captum.attr import IntegratedGradients
from inputs import Input, inputs
from intgrads import integrated_gradients
from intgrads.integral.quadrature import Method
from options import Options, Row, Tables
from safetensors.torch import load_file, save_file
from timing import alternate
from torch import Tensor
from ways import rows_at_once

ERRORS = (0.10, 0.05, 0.02)
NODES, TINY_NODES = 2000, 64
COUNT = 10
MOST = 2000
"""Evaluations of ours at most."""

LADDER = (5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640)
"""Captum's steps, growing by 1.4."""

TOLERANCES = (0.5, 0.35, 0.25, 0.18, 0.13, 0.1, 0.07, 0.05, 0.035, 0.025, 0.018, 0.013, 0.01, 0.007, 0.005, 0.0025)
RULES: dict[str, Method] = {"Captum, Gauss-Legendre": "gausslegendre", "Captum, midpoint": "riemann_middle"}
OURS = "ours"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "intgrads-benchmarks"


@dataclass
class Found:
    """The cheapest of a ladder that meets an error: how many evaluations, and how to run it again."""

    evaluations: int
    run: Callable[[], object]
    stated: bool = False
    """Whether the tolerance asked for was the error wanted, so that a caller would have got it by asking."""


def measure(options: Options) -> Tables:
    """Return each input's figures, and their medians."""
    rows: list[Row] = []
    for model in ("demo-image", "demo-text"):
        if options.tiny and model == "demo-image":
            continue
        for one in inputs(model, 1 if options.tiny else COUNT, options.device):
            if options.wants(f"{model}: {one.name}"):
                rows += of_input(model, one, options)
    return {"equal_error": rows, "equal_error-medians": medians(rows)}


def of_input(model: str, one: Input, options: Options) -> list[Row]:
    """Return what each error takes, a row each."""
    batch = rows_at_once(one.forward, one.x)
    with torch.no_grad():
        target = int(one.forward(one.x)[0].argmax())
    nodes = TINY_NODES if options.tiny else NODES
    kept = CACHE / name_of(one, target, nodes)
    exact = reference(one, target, batch, nodes, kept)
    rows: list[Row] = []
    ways = {OURS: ours(one, target, batch, exact)}
    ways |= {name: captums(one, target, batch, exact, rule=rule, kept=kept) for name, rule in RULES.items()}
    for error in ERRORS:
        best = {name: found.get(error) for name, found in ways.items()}
        row: Row = {"input": one.name, "network": model, "error": f"{100 * error:.0f} %"}
        row |= {f"{name}: evaluations": None if found is None else found.evaluations for name, found in best.items()}
        own = best[OURS]
        peers = {name: found.run for name, found in best.items() if found is not None and name != OURS}
        if own is not None:
            taken, ratios = alternate(own.run, peers, 1, options.device, warm=False)
            row["ours: s"] = round(statistics.median(taken), 3)
            row |= {f"{name} / ours": round(statistics.median(ratios[name]), 2) for name in ratios}
            row["met when asked for"] = "yes" if own.stated else "no"
        rows.append({column: row.get(column) for column in COLUMNS})
        print(rows[-1], flush=True)
    return rows


COLUMNS = (
    "input", "network", "error", *(f"{name}: evaluations" for name in (OURS, *RULES)), "ours: s",
    *(f"{name} / ours" for name in RULES), "met when asked for",
)  # fmt: skip


def name_of(one: Input, target: int, nodes: int) -> str:
    """Return what a network and an input are kept under."""
    key = hashlib.sha256(f"{nodes} {target}".encode())
    with torch.no_grad():
        # What tells this network from others; rounded, since another processor rounds otherwise.
        told = (one.plain(one.x)[0].double() * 100).round().cpu()
    for tensor in (one.x.cpu(), one.baseline.cpu()):
        key.update((tensor.double() * 1e4).round().numpy().tobytes())
    key.update(told.numpy().tobytes())
    return key.hexdigest()[:32]


def reference(one: Input, target: int, batch: int, nodes: int, kept: Path) -> Tensor:
    """Return the map with many nodes, (*shape), float64, kept from an earlier run if there was one."""
    path = kept.with_suffix(".safetensors")
    if path.exists():
        return load_file(path)["map"]
    exact = by_rule(one, target, batch, "gausslegendre", nodes)
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    save_file({"map": exact.contiguous()}, partial)
    partial.replace(path)
    return exact


def by_rule(one: Input, target: int, batch: int, rule: Method, steps: int) -> Tensor:
    """Return the map by a fixed rule, (*shape), float64."""
    found = integrated_gradients(
        one.forward, one.x, one.baseline, target, n_steps=steps, method=rule, chunk_rows=batch, keep_gradients=False
    )
    return found.integrated_gradients[0].double()


def error_of(found: Tensor, exact: Tensor) -> float:
    """Return how far a map is from the reference."""
    return float((found.detach().cpu().double() - exact).norm() / exact.norm())


def ours(one: Input, target: int, batch: int, exact: Tensor) -> dict[float, Found]:
    """Return the largest tolerance that meets each error."""

    def run(tolerance: float) -> tuple[float, int]:
        attribution = integrated_gradients(
            one.forward, one.x, one.baseline, target, tolerance=tolerance, max_evaluations=MOST, chunk_rows=batch,
            keep_gradients=False,
        )  # fmt: skip
        return error_of(attribution.integrated_gradients[0], exact), attribution.evaluations

    best: dict[float, Found] = {}
    known = {}
    for tolerance in TOLERANCES:
        known[tolerance] = run(tolerance)
        for error in ERRORS:
            if known[tolerance][0] <= error and error not in best:
                best[error] = Found(known[tolerance][1], lambda tolerance=tolerance: run(tolerance))  # type: ignore[misc]
        if len(best) == len(ERRORS) and tolerance <= min(ERRORS):
            break
    for error, found in best.items():
        found.stated = known.get(error, run(error))[0] <= error
    return best


def captums(one: Input, target: int, batch: int, exact: Tensor, *, rule: Method, kept: Path) -> dict[float, Found]:
    """Return the fewest steps that meet each error and that the next two of the ladder confirm."""
    path = kept.with_suffix(f".{rule}.json")
    errors: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    method = IntegratedGradients(one.plain)

    def run(steps: int) -> object:
        return method.attribute(
            one.x, one.baseline, target=target, n_steps=steps, method=rule, internal_batch_size=batch,
            return_convergence_delta=True,
        )  # fmt: skip

    best: dict[float, Found] = {}
    for place, steps in enumerate(LADDER):
        if str(steps) not in errors:
            errors[str(steps)] = error_of(by_rule(one, target, batch, rule, steps), exact)
            path.write_text(json.dumps(errors))
        if place < 2:
            continue
        fewest = LADDER[place - 2]
        worst = max(errors[str(one_of)] for one_of in LADDER[place - 2 : place + 1])
        for error in ERRORS:
            if error not in best and worst <= error:
                best[error] = Found(fewest + 2, lambda fewest=fewest: run(fewest))  # type: ignore[misc]
        if len(best) == len(ERRORS):
            break
    return best


def medians(rows: list[Row]) -> list[Row]:
    """Return the medians over the inputs of each network; what no step of a ladder met counts as more than any."""
    found: list[Row] = []
    for key in dict.fromkeys((row["network"], row["error"]) for row in rows):
        of_key = [row for row in rows if (row["network"], row["error"]) == key]
        row: Row = {"network": key[0], "error": key[1], "inputs": len(of_key)}
        for column in COLUMNS[3:-1]:
            values = [float("inf") if one[column] is None else float(str(one[column])) for one in of_key]
            middle = statistics.median(values)
            row[column] = None if middle == float("inf") else round(middle, 2)
        row["met when asked for"] = f"{sum(one['met when asked for'] == 'yes' for one in of_key)} of {len(of_key)}"
        found.append(row)
    return found
