"""Ours beside Captum, the plain network and the earlier servers' way, on networks of every kind."""

from __future__ import annotations

import statistics
import traceback

import torch
import ways
from floor import floor_seconds
from networks import CASES, TINY, named
from options import Options, Row, Tables
from timing import alternate, in_own_process, peak_memory, spread

PEERS: dict[str, ways.Way] = {
    "plain": ways.plain,
    "Captum": ways.captum,
    "Captum, no delta": ways.captum_without_delta,
    "Captum, 10 rows": ways.captum_ten_rows,
    "earlier": ways.earlier,
}
"""What each column's time is a multiple of ours in."""

OF_TRANSFORMERS = "Captum, 10 rows"

ENDS = 2
"""Points of which the output is enough: x and x', for the delta."""


def measure(options: Options) -> Tables:
    """Return the rows of the table, a network each."""
    rows: list[Row] = []
    for case in TINY if options.tiny else CASES:
        if options.wants(case.name):
            try:
                # A process that held a large network keeps its memory, and others are then faster in it than alone.
                rows.append(in_own_process(compare, case.name, options))
            except Exception:  # one network that fails does not take the hours of the others with it
                traceback.print_exc()
    return {"speed": rows}


def compare(name: str, options: Options) -> Row:
    """Return one network's figures; for a process of its own."""
    torch.set_num_threads(options.threads)
    case, device = named(name), options.device
    # First: another process then has the memory that this one takes below.
    mib = {name: in_own_process(memory, name, case.name, device, options.threads) for name in ("ours", "Captum")}
    module, x = ways.as_it_came(case, device)
    rows = ways.rows_at_once(module, x)
    floor = floor_seconds(module, x, case.steps, ENDS, rows)
    transformer = case.text or "ViT" in case.name
    peers = {name: way for name, way in PEERS.items() if transformer or name != OF_TRANSFORMERS}
    own = ways.ours(case, device)
    taken, ratios = alternate(own, {name: way(case, device) for name, way in peers.items()}, options.rounds, device)
    floor = min(floor, floor_seconds(*ways.as_it_came(case, device), case.steps, ENDS, rows))
    row: Row = {"network": case.name, "size": case.size, "steps": case.steps}
    row |= {name: spread(ratios[name]) if name in ratios else None for name in PEERS}
    row |= {"seconds": round(statistics.median(taken), 3), "ours / floor": round(min(taken) / floor, 2)}
    row |= {f"MiB {name}": round(most) for name, most in mib.items()}
    print(row, flush=True)
    return row


def memory(way: str, case: str, device: torch.device, threads: int) -> float:
    """Return the MiB that a way needs beyond the network and the libraries; for a process of its own."""
    torch.set_num_threads(threads)
    action = ways.ours(named(case), device) if way == "ours" else PEERS[way](named(case), device)
    return peak_memory(action, device)
