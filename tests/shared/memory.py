"""A network whose memory runs out, in every way that PyTorch says so."""

import torch
from torch import Tensor, nn

from shared.toys import small_network


class Small(nn.Module):
    """A network on a machine that has memory for a few rows only."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        self.inner, self.most, self.error = small_network(), most, error
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if len(x) > self.most:
            raise self.error
        out: Tensor = self.inner(x)
        return out


def while_it_closed() -> Exception:
    """Return what a writer raises that closes its file because memory ran out."""
    try:
        try:
            raise MemoryError
        finally:
            raise RuntimeError("unexpected pos 2304 vs 2198")
    except RuntimeError as error:
        return error


OUT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    while_it_closed(),
]
