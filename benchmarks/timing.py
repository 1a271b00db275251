"""Seconds and memory: how they are taken, the same by every benchmark.

A machine that others use slows down and speeds up. Ways are therefore alternated in one process, each between two runs
of ours, and what is told is the median of the rounds' ratios, with the lowest and the highest. Memory is taken in a
process of its own for each way, less what that process held before.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

Action = Callable[[], object]
Returned = TypeVar("Returned")


def seconds(action: Action, device: torch.device) -> float:
    """Return what an action takes. A GPU computes on while Python goes on, and is waited for on both sides."""
    _wait(device)
    started = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(
    ours: Action, peers: Mapping[str, Action], rounds: int, device: torch.device, warm: bool = True
) -> tuple[list[float], dict[str, list[float]]]:
    """Run ours and its peers in turns: ours, two peers, ours, two peers, …, ours; each once before, to warm up.

    Returns
    -------
    list of float
        Seconds of each run of ours.
    dict of str to list of float
        By each peer: its time over the mean of ours just before and just after, of each round.
    """
    for action in (ours, *peers.values()) if warm else ():
        seconds(action, device)
    names = list(peers)
    own: list[float] = [seconds(ours, device)]
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for first in range(0, max(len(names), 1), 2):
            pair = names[first : first + 2]
            taken = [seconds(peers[name], device) for name in pair]
            own.append(seconds(ours, device))
            for name, its in zip(pair, taken, strict=True):
                ratios[name].append(2 * its / (own[-2] + own[-1]))
    return own, ratios


def spread(values: list[float]) -> dict[str, float]:
    """Return the median of some figures, the lowest and the highest."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def in_own_process(function: Callable[..., Returned], *arguments: Any) -> Returned:
    """Return what a function of a module returns in a fresh process, which this one's memory tells nothing of."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory(action: Action, device: torch.device) -> float:
    """Return by how many MiB memory grows at most while an action runs; for a process of its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        action()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - held) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # give back what loading freed, or the action would use it unseen
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before = resident("VmRSS")
    action()
    return (resident("VmHWM") - before) / 1024


def resident(name: str, process: int | str = "self") -> int:
    """Return a line of Linux's account of a process, in KiB; getrusage would count its parent's peak too."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])
