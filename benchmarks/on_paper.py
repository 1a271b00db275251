"""What a large run of ``intgrads bulk`` takes, on paper: hours, bandwidth, bytes, and where it stops scaling.

``python benchmarks/on_paper.py --rate R --workers 8 64 …`` prints it for some numbers of workers. Nothing is measured
here: what one worker does, and what the disk and the merging of a file take, is given.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "handler"))

from intgrads.bulk.plan import blocks, chunks  # noqa: E402
from intgrads.bulk.store import BLOCK  # noqa: E402

LOADS = 3
"""Times that an archive is loaded one after the other: by the worker that tries a few inputs, by all, for the pages."""


@dataclass(frozen=True)
class Given:
    """What is known of a run.

    Attributes
    ----------
    rows : int
    rate : float
        Rows a second of one worker.
    input_bytes, row_bytes, tensor_bytes : float
        Of an input, of a row of the results, and of the tensors that are kept of an answer.
    disk : float
        Bytes a second that the shared disk reads and writes, or that the network to it carries.
    merge : float
        Seconds in which the driver makes a file of results of its parts.
    load : float
        Seconds in which a worker starts and loads the archive.
    """

    rows: int
    rate: float
    input_bytes: float
    row_bytes: float
    tensor_bytes: float
    disk: float
    merge: float
    load: float


def on_paper(given: Given, workers: int) -> dict[str, float]:
    """Return what a run takes some workers, if nothing but they holds it up, and how many would be held up."""
    left = {k: range(k * BLOCK, min(given.rows, (k + 1) * BLOCK)) for k in range(blocks(given.rows))}
    cut = list(chunks(left, workers))
    chunk = max(len(one.rows) for one in cut)
    together = workers * given.rate
    fixed, computing, last = LOADS * given.load, given.rows / together, chunk / given.rate
    # Parts are written, read again and written as files of results.
    bytes_of_a_row = given.input_bytes + given.tensor_bytes + 3 * given.row_bytes
    return {
        "hours": (fixed + computing + last) / 3600,
        "of them loading, %": 100 * fixed / (fixed + computing + last),
        "of them waiting for the last chunks at most, %": 100 * last / (fixed + computing + last),
        "inputs, MB a second": together * given.input_bytes / 1e6,
        "results, GB": given.rows * given.row_bytes / 1e9,
        "tensors, GB": given.rows * given.tensor_bytes / 1e9,
        "disk, MB a second": together * bytes_of_a_row / 1e6,
        "chunks": len(cut),
        "chunks a second": together * len(cut) / given.rows,
        "driver merging, % of its time": 100 * together / BLOCK * given.merge,
        "workers that fill the disk": given.disk / (given.rate * bytes_of_a_row),
        "workers that fill the driver": BLOCK / (given.rate * given.merge),
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--workers", type=int, nargs="+", default=[8, 64], help="default 8 and 64")
    parse.add_argument("--rows", type=int, default=1_000_000, help="default a million")
    parse.add_argument("--rate", type=float, required=True, help="rows a second of one worker")
    parse.add_argument("--input-bytes", type=float, required=True, help="of a picture or a text")
    parse.add_argument("--row-bytes", type=float, required=True, help="of a row of the results")
    parse.add_argument("--tensor-bytes", type=float, default=0, help="kept of an answer; default none")
    parse.add_argument("--disk", type=float, required=True, help="bytes a second of the shared disk or its network")
    parse.add_argument("--merge", type=float, required=True, help="seconds that merging a file of results takes")
    parse.add_argument("--load", type=float, required=True, help="seconds that the start of a worker takes")
    return parse


def main() -> None:
    """Print what a run takes, a column for each number of workers."""
    options = vars(parser().parse_args())
    counts = options.pop("workers")
    found = [on_paper(Given(**options), count) for count in counts]
    print(f"{'workers':48}" + "".join(f"{count:>12}" for count in counts))
    for name in found[0]:
        print(f"{name:48}" + "".join(f"{one[name]:>12.4g}" for one in found))


if __name__ == "__main__":
    main()
