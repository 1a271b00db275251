"""A worker's device, threads and chunk follow what the server gave it and what the network was seen to need."""

from functools import partial

import pytest
import torch
from intgrads.speed import devices
from intgrads.speed.devices import RowMemory, chunk_rows, memory_of_a_row, set_threads
from torch import nn

CPU = torch.device("cpu")


def test_threads_are_shared_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "cores", lambda: 8)
    try:
        for workers, threads in ((1, 8), (3, 2), (20, 1)):
            set_threads(0, partial(int, workers))
            assert torch.get_num_threads() == threads
        set_threads(5, lambda: pytest.fail("nothing to count"))
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


def test_what_a_row_saves_is_measured() -> None:
    """Tanh saves its output, the second linear layer's gradient needs its weight alone."""
    network = nn.Sequential(nn.Linear(10, 1000), nn.Tanh(), nn.Linear(1000, 3)).requires_grad_(False)
    assert memory_of_a_row(network, (10,), CPU) == RowMemory(4 * 1000, 4 * 1000)
    deeper = nn.Sequential(network[0], nn.Tanh(), nn.Tanh(), network[2])
    assert memory_of_a_row(deeper, (10,), CPU) == RowMemory(8 * 1000, 4 * 1000)


@pytest.mark.parametrize(("budget", "saved", "rows"), [(64, 2**20, 32), (64, 2**30, 1), (4096, 1, 1024)])
def test_the_chunk_follows_the_budget(budget: int, saved: int, rows: int) -> None:
    assert chunk_rows(budget, RowMemory(saved, 1), CPU) == rows


@pytest.mark.parametrize(("largest", "rows"), [(2**20, 32), (2**25, 1), (2**30, 1), (2**10, 512)])
def test_no_tensor_of_a_chunk_is_so_large_that_the_system_takes_it_back(largest: int, rows: int) -> None:
    """A GPU's allocator keeps all of them."""
    row = RowMemory(2**20, largest)
    assert chunk_rows(1024, row, CPU) == rows
    assert chunk_rows(1024, row, torch.device("cuda")) == 512
