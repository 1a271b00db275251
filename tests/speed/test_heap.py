"""A worker gives back what a large request left behind, and keeps a little for the next one."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np, psutil
from intgrads.speed import heap

def resident():
    return psutil.Process().memory_info().rss

at_rest, worker = resident(), heap.Heap()
# Pieces too small for a mapping of their own, with something that lives on between them.
pieces = [np.ones(2**16, np.uint8) for _ in range(2**14)]
living, pieces = pieces[::64], None
before = resident()
worker.give_back()
print(before - at_rest, resident() - at_rest)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 2**29
    assert after < 2**27


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_little_is_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("2**14", "2**12")], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert 2**27 < after == before
