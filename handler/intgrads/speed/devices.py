"""Where a worker computes, with how many threads, and how many rows fit into its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intgrads.speed.cores import cores

MOST_ROWS = 1024
"""Largest batch, however small the network."""

KEPT = 32 * 2**20
"""Bytes of a tensor that Linux's allocator (glibc's mallopt, DEFAULT_MMAP_THRESHOLD_MAX) keeps for the next one.

A larger one is given back to the system and comes anew, page by page, filled with zeros: up to half of the time.
"""


def exact_products() -> None:
    """Keep a GPU's tensor cores from rounding float32 to 10 bits: PyTorch has them do so in convolutions by itself."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def set_threads(threads: int, workers: Callable[[], int]) -> None:
    """Set the CPU threads of this process.

    Parameters
    ----------
    threads : int
        0 shares the cores that there are among the workers: two with all cores each are slower than either alone.
    workers : callable
        Counts the processes that compute on this machine's cores, this one among them; called only for 0.
    """
    wanted = threads or max(1, cores() // workers())
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


class OnDevice(nn.Module):
    """A copy of a network on another device, which takes and gives tensors of the caller's."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.module, self.device = module, device

    def forward(self, points: Tensor) -> Tensor:
        """Return the network's output on the device of the points."""
        output: Tensor = self.module(points.to(self.device))
        return output.to(points.device)


@dataclass(frozen=True)
class RowMemory:
    """What one row of a batch takes.

    Attributes
    ----------
    saved : int
        Bytes that autograd keeps of it for the backward pass.
    largest : int
        Bytes of the largest tensor among them.
    """

    saved: int
    largest: int


def memory_of_a_row(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> RowMemory:
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
    RowMemory
        As counted by autograd's own hooks during one forward pass: the same on every device.
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
    return RowMemory(max(sum(seen.values()), row.nbytes), max([row.nbytes, *seen.values()]))


def chunk_rows(memory_budget_mb: int, row: RowMemory, device: torch.device) -> int:
    """Return how many rows a batch may have.

    Parameters
    ----------
    memory_budget_mb : int
        Memory for a batch, in MiB.
    row : RowMemory
        The backward pass and the operators' own buffers are taken to need as much again.
    device : torch.device
    """
    rows = memory_budget_mb * 2**20 // (2 * row.saved)
    if device.type == "cpu":
        rows = min(rows, KEPT // row.largest)
    return max(1, min(MOST_ROWS, rows))
