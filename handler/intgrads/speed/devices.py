"""Where a worker computes, with how many threads, and how many rows fit into its memory."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

MOST_ROWS = 1024
"""Largest batch, however small the network."""


def set_threads(threads: int, workers: Callable[[], int]) -> None:
    """Set the CPU threads of this process.

    Parameters
    ----------
    threads : int
        0 shares the machine's cores among the workers: two with all cores each are slower than either alone.
    workers : callable
        Counts the processes that compute on this machine's cores, this one among them; called only for 0.
    """
    wanted = threads or max(1, _cores() // workers())
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnDevice(nn.Module):
    """A copy of a network on another device, which takes and gives tensors of the caller's."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.module, self.device = module, device

    def forward(self, points: Tensor) -> Tensor:
        """Return the network's output on the device of the points."""
        output: Tensor = self.module(points.to(self.device))
        return output.to(points.device)


def memory_of_a_row(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> int:
    """Measure what one more row of a batch keeps in memory for its gradient.

    Parameters
    ----------
    module : nn.Module
        Evaluation mode, parameters frozen.
    shape : tuple of int
        Shape of one input, without the batch.
    device : torch.device

    Returns
    -------
    int
        Bytes that autograd saves for the backward pass of one row, as counted by its own hooks during one forward
        pass: the same on every device.
    """
    parameters = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    row = torch.zeros(1, *shape, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        # The output is held: it holds the graph, and so every storage counted keeps its address to the end.
        output = module(row)
    del output
    return max(sum(seen.values()), row.nbytes)


def chunk_rows(memory_budget_mb: int, row: int) -> int:
    """Return how many rows a batch may have.

    Parameters
    ----------
    memory_budget_mb : int
        Memory for a batch, in MiB.
    row : int
        Bytes that a row saves. The backward pass and the operators' own buffers are taken to need as much again.
    """
    return max(1, min(MOST_ROWS, memory_budget_mb * 2**20 // (2 * row)))
