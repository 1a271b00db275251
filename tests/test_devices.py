"""A worker's device, threads and chunk follow what the server gave it and what the network was seen to need."""

import subprocess
import sys

import pytest
import torch
from intgrads.speed import devices
from intgrads.speed.devices import chunk_rows, memory_of_a_row, pick_device, set_threads
from torch import nn


def test_no_gpu_id_means_the_cpu() -> None:
    assert pick_device(None) == torch.device("cpu")


def test_the_gpu_that_torchserve_gave_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device(2) == torch.device("cuda", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(2) == torch.device("cpu")


def test_threads_are_shared_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    try:
        for workers, threads in ((1, 8), (3, 2), (20, 1)):
            monkeypatch.setattr(devices, "_workers", lambda workers=workers: workers)
            set_threads(0)
            assert torch.get_num_threads() == threads
        set_threads(5)
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


SERVER = """
import subprocess, sys
program = "from intgrads.speed.devices import _workers as w; print(flush=1); input(); print(w(), flush=1); input()"
sleeping, ended = subprocess.Popen(["sleep", "600"]), subprocess.Popen(["true"])
workers = [
    subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(3)
]
for worker in workers:
    worker.stdout.readline()
for worker in workers:
    print(worker.stdin.write("count\\n"), worker.stdin.flush(), worker.stdout.readline().strip())
for worker in workers:
    worker.communicate("end\\n")
sleeping.kill()
"""


def test_workers_are_counted_among_the_children_of_the_server() -> None:
    """A process starts three Pythons, a sleep and one that ends, as TorchServe does; each Python counts three."""
    done = subprocess.run(
        [sys.executable, "-c", SERVER], capture_output=True, text=True, check=True, env={"PYTHONPATH": "handler"}
    )
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["3"] * 3


def test_what_a_row_saves_is_measured() -> None:
    """Tanh saves its output, the second linear layer's gradient needs its weight alone."""
    network = nn.Sequential(nn.Linear(10, 1000), nn.Tanh(), nn.Linear(1000, 3)).requires_grad_(False)
    assert memory_of_a_row(network, (10,), torch.device("cpu")) == 4 * 1000
    deeper = nn.Sequential(network[0], nn.Tanh(), nn.Tanh(), network[2])
    assert memory_of_a_row(deeper, (10,), torch.device("cpu")) == 8 * 1000


@pytest.mark.parametrize(("budget", "row", "rows"), [(64, 2**20, 32), (64, 2**30, 1), (4096, 1, 1024)])
def test_the_chunk_follows_the_budget(budget: int, row: int, rows: int) -> None:
    assert chunk_rows(budget, row) == rows
