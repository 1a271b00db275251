"""Which rows are left, in which order, and how they are dealt out to workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

import numpy as np

from intgrads.bulk.run import FAILED
from intgrads.bulk.store import BLOCK, Store

MOST_ROWS, LEAST_ROWS, SHARES = 256, 8, 16
"""Rows of a chunk, at most and at least; and how many chunks there are for each worker, so that all end together."""

SAMPLES = 4


@dataclass(frozen=True)
class Workers:
    """How many there are, what each has of its machine, and what they load, of which run.

    Attributes
    ----------
    directory, archive : str
        Of the run, and of NAME.mar, on every machine.
    count : int
    cpus, gpus : float
        Of each.
    address : str or None
        Of a cluster; None for this machine alone.
    """

    directory: str
    archive: str
    count: int
    cpus: float
    gpus: float
    address: str | None = None


@dataclass(frozen=True)
class Chunk:
    """Rows of one block that one worker answers, one after the other."""

    block: int
    rows: tuple[int, ...]

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps([self.block, self.rows])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return one that was text."""
        block, rows = json.loads(text)
        return cls(block, tuple(rows))


@dataclass(frozen=True)
class State:
    """What is finished, and what is left.

    Attributes
    ----------
    done, failed : int
        Finished rows, and those among them of which there is no answer.
    left : dict of int to list of int
        Blocks with rows that are left, those of a block by the lengths of their inputs. The longest come first: at the
        end nobody waits for them.
    """

    done: int
    failed: int
    left: Mapping[int, Sequence[int]]

    @property
    def rows_left(self) -> int:
        """How many are left."""
        return sum(map(len, self.left.values()))


def state(store: Store, rows: int, retry_failed: bool) -> State:
    """Return how far a run is; what failed is left if it is to be tried again."""
    lengths, left = store.lengths(), dict[int, list[int]]()
    done = failed = 0
    for block in range(blocks(rows)):
        finished = store.finished(block)
        if retry_failed:
            finished = {row: status for row, status in finished.items() if status != FAILED}
        done += len(finished)
        failed += sum(status == FAILED for status in finished.values())
        own = range(block * BLOCK, min(rows, (block + 1) * BLOCK))
        of_block = sorted((row for row in own if row not in finished), key=lambda row: (-lengths[row], row))
        if of_block:
            left[block] = of_block
    return State(done, failed, left)


def blocks(rows: int) -> int:
    """Return how many blocks so many rows are."""
    return ceil(rows / BLOCK)


def samples(left: Mapping[int, Sequence[int]]) -> Chunk:
    """Return a few rows, of all lengths, of the first block with any left."""
    block = min(left)
    rows = left[block]
    places = np.unique(np.linspace(0, len(rows) - 1, SAMPLES).round().astype(int))
    return Chunk(block, tuple(rows[place] for place in places))


def chunks(left: Mapping[int, Sequence[int]], workers: int) -> Iterator[Chunk]:
    """Cut what is left into chunks for some workers."""
    rows_left = sum(map(len, left.values()))
    size = min(MOST_ROWS, max(LEAST_ROWS, rows_left // (workers * SHARES)), ceil(rows_left / workers))
    for block, rows in left.items():
        for start in range(0, len(rows), size):
            yield Chunk(block, tuple(rows[start : start + size]))
