"""The folder of a run: inputs, parts that workers write, and the results that these become.

A row is finished once a part that holds it is on the disk, under its name, whole. When all rows of a block are, its
parts become one file of results. Whatever ends a run, at any moment, the folder tells the next one what is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from intgrads.bulk.inputs import Input
from intgrads.bulk.run import FAILED, Run

BLOCK = 1024
"""Rows of one file of results, and of one row group of the inputs."""

RUN, LOCK, UNFINISHED = "run.json", ".lock", ".unfinished"

YOUNG = 3600
"""Seconds in which tensors that no row names are left where they are."""

NO_TEXT = "surrogatepass"
"""Texts and paths may hold what is no Unicode; they are kept as bytes, as they came."""

INPUTS = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.binary()),
        ("text", pa.binary()),
        ("path", pa.binary()),
        ("fields", pa.string()),
        ("length", pa.int64()),
    ]
)


class Store:
    """The folder of a run.

    Parameters
    ----------
    directory : Path
        Need not be there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inputs, self.results = directory / "inputs.parquet", directory / "results"
        self.parts, self.tensors, self.under_way = (directory / name for name in ("parts", "tensors", "under-way"))
        self.pages, self.report, self.summary = (
            directory / "pages",
            directory / "report.html",
            directory / "summary.json",
        )

    def make(self) -> None:
        """Make its folders."""
        for folder in (self.results, self.parts, self.tensors, self.under_way):
            folder.mkdir(parents=True, exist_ok=True)

    def is_of_no_run(self, path: Path) -> bool:
        """Whether a file in it may be there before a run is begun: its lock, and inputs of one that came no further."""
        return path.name in (LOCK, self.inputs.name) or path.suffix == UNFINISHED

    def close(self) -> None:
        """Remove what only a run under way needs."""
        for folder in (self.parts, self.under_way):
            shutil.rmtree(folder)

    def lock(self) -> FileLock:
        """Return the lock of those who write to it; it is free again when its holder has ended, however."""
        return FileLock(self.directory / LOCK)

    @property
    def run(self) -> Run | None:
        """What the run asks that was begun here, if any."""
        place = self.directory / RUN
        try:
            return Run.read(place) if place.exists() else None
        except ValueError:
            message = f"{place} cannot be read: another version of intgrads wrote it, or it is damaged"
            raise ValueError(message) from None

    def begin(self, run: Run) -> None:
        """Keep what a run asks: from here on it can be taken up again."""
        with whole(self.directory / RUN) as place:
            run.write(place)

    # ------------------------------------------------------------------ inputs
    def write_inputs(self, inputs: Iterable[Input]) -> tuple[int, str]:
        """Keep the inputs; return how many there are, and their digest."""
        with whole(self.inputs) as place, pq.ParquetWriter(place, INPUTS) as file:

            def keep(first: int, block: Sequence[Input]) -> None:
                held = [_kept(first + k, one) for k, one in enumerate(block)]
                file.write_table(pa.Table.from_pylist(held, INPUTS))

            return _digested(inputs, keep)

    def read_inputs(self, block: int) -> dict[int, Input]:
        """Return the inputs of a block by their rows."""
        table = pq.ParquetFile(self.inputs).read_row_group(block)
        return {one["row"]: _input(one) for one in table.to_pylist()}

    def digest_inputs(self, inputs: Iterable[Input]) -> tuple[int, str]:
        """Return the same of inputs that are kept already, to be compared."""
        return _digested(inputs, lambda *_: None)

    def lengths(self) -> NDArray[np.int64]:
        """Return the length of each input."""
        held = _read(self.inputs, columns=["length"], mend="begin anew in another --out")
        lengths: NDArray[np.int64] = held["length"].to_numpy()
        return lengths

    # ------------------------------------------------------------------ what is finished
    def write_part(self, block: int, table: pa.Table, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Keep finished rows of a block, and their tensors under ``ROW/NAME``."""
        name = f"{block:05d}-{uuid.uuid4().hex[:12]}"
        if tensors:
            file = f"{name}.safetensors"
            with whole(self.tensors / file) as place:
                save_file(dict(tensors), place)
            with_tensors = {key.split("/")[0] for key in tensors}
            names = [file if str(row) in with_tensors else None for row in table["row"].to_pylist()]
            table = table.set_column(table.schema.get_field_index("tensors"), "tensors", pa.array(names, pa.string()))
        failed = pc.sum(pc.equal(table["status"], FAILED)).as_py()
        # Whoever counts needs to open none of them.
        with whole(self.parts / f"{name}-{len(table)}-{failed}.parquet") as place:
            pq.write_table(table, place, compression="zstd")

    def parts_of(self, block: int) -> list[Path]:
        """Return the parts of a block, the oldest first."""
        return sorted(self.parts.glob(f"{block:05d}-*.parquet"), key=lambda path: path.stat().st_mtime_ns)

    def finished(self, block: int) -> dict[int, str]:
        """Return the finished rows of a block, and the status of each."""
        found: dict[int, str] = {}
        for place in self._files_of(block):
            table = _read(place, columns=["row", "status"])
            found |= dict(zip(table["row"].to_pylist(), table["status"].to_pylist(), strict=True))
        return found

    def _files_of(self, block: int) -> list[Path]:
        """Return all files with finished rows of a block, the oldest first."""
        return [place for place in (self.result(block), *self.parts_of(block)) if place.exists()]

    def rows_of(self, part: Path) -> list[int]:
        """Return the rows that a part holds."""
        rows: list[int] = _read(part, columns=["row"])["row"].to_pylist()
        return rows

    def result(self, block: int) -> Path:
        """Return the file of a block's results."""
        return self.results / f"{block:05d}.parquet"

    def merge(self, block: int) -> tuple[int, int]:
        """Make one file of a block's results, in the order of rows, of its parts; of a row the newest counts.

        Once more of the same parts it makes the same file: it may be broken off anywhere. Returns how many rows the
        parts held, and how many of them failed.
        """
        parts = self.parts_of(block)
        if not parts:
            return 0, 0
        table = pa.concat_tables([_read(place) for place in (self.result(block), *parts) if place.exists()])
        newest = {row: k for k, row in enumerate(table["row"].to_pylist())}
        with whole(self.result(block)) as place:
            pq.write_table(table.take([newest[row] for row in sorted(newest)]), place, compression="zstd")
        counted = _counts(part.name for part in parts)
        for part in parts:
            part.unlink()
        return counted

    def counts(self) -> tuple[int, int]:
        """Return how many rows the parts hold, and how many of them failed."""
        return _counts(entry.name for entry in os.scandir(self.parts))

    def refusals(self, block: int) -> list[tuple[str | None, str]]:
        """Return the fields and the messages of the errors in a block's parts."""
        tables = [_read(part, columns=["status", "error_field", "error"]) for part in self.parts_of(block)]
        rows = pa.concat_tables(tables).to_pylist() if tables else []
        return [(row["error_field"], row["error"]) for row in rows if row["status"] == FAILED]

    def sizes(self) -> tuple[int, int, int]:
        """Return how many rows are finished, and the bytes that these and their tensors take."""
        files = [pq.read_metadata(place) for folder in (self.results, self.parts) for place in folder.glob("*.parquet")]
        results = sum(
            # Of the columns alone: what stands around them counts for much where there are few rows.
            file.row_group(group).column(column).total_compressed_size
            for file in files
            for group in range(file.num_row_groups)
            for column in range(file.num_columns)
        )
        tensors = sum(place.stat().st_size for place in self.tensors.iterdir())
        return sum(file.num_rows for file in files), results, tensors

    def clear(self) -> None:
        """Remove what a run made that came to nothing."""
        for folder in (self.results, self.parts, self.tensors, self.under_way):
            shutil.rmtree(folder, ignore_errors=True)
        self.inputs.unlink(missing_ok=True)
        (self.directory / RUN).unlink(missing_ok=True)

    def tidy(self, blocks: int) -> None:
        """Remove what broken-off runs left: unfinished files, tensors of no row, and marks of inputs under way."""
        for folder in (self.directory, self.results, self.parts, self.tensors):
            for place in folder.glob(f".*{UNFINISHED}"):
                place.unlink()
        for place in self.under_way.iterdir():
            place.unlink()
        if any(self.tensors.iterdir()):
            named = {name for block in range(blocks) for name in self._tensors_of(block)}
            mark = self.mark(0)
            now = mark.stat().st_mtime  # by the clock of whoever has the disk
            mark.unlink()
            for place in self.tensors.iterdir():
                # A worker that outlived its run may be about to name a young one.
                if place.name not in named and now - place.stat().st_mtime > YOUNG:
                    place.unlink()

    def tensor_names(self) -> set[str]:
        """Return the names of all tensors that are kept."""
        names = set[str]()
        for place in self.tensors.glob("*.safetensors"):
            with safe_open(place, "numpy") as file:
                names |= {key.split("/", 1)[1] for key in file.keys()}  # noqa: SIM118 - it is no mapping
        return names

    def _tensors_of(self, block: int) -> set[str]:
        tables = [_read(place, columns=["tensors"]) for place in self._files_of(block)]
        return {name for table in tables for name in table["tensors"].to_pylist()}

    # ------------------------------------------------------------------ inputs that end workers
    def marks(self) -> dict[int, list[Path]]:
        """Return what workers left that died on an input, by the inputs' rows."""
        found: dict[int, list[Path]] = {}
        for place in self.under_way.iterdir():
            found.setdefault(int(place.name.split("-")[0]), []).append(place)
        return found

    def mark(self, row: int) -> Path:
        """Note that a worker begins with an input; what this returns is to be removed when it is done."""
        place = self.under_way / f"{row}-{uuid.uuid4().hex[:8]}"
        place.touch()
        return place


@contextmanager
def whole(place: Path) -> Iterator[Path]:
    """Yield where to write a file that comes under its name when all of it is on the disk, or not at all."""
    written = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        yield written
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        written.replace(place)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def _read(
    place: Path, columns: list[str] | None = None, mend: str = "remove it, and what it held is answered again"
) -> pa.Table:
    """Read a Parquet of the run.

    Raises
    ------
    ValueError
        If it is damaged; with what mends it.
    OSError
        If the disk fails.
    """
    try:
        return pq.read_table(place, columns=columns)
    except (pa.ArrowException, OSError) as error:
        # Arrow tells most damage by an OSError, without what a disk's would have.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        detail = " ".join(str(error).split())
        raise ValueError(f"{place} is damaged ({detail}); {mend}") from None


def _counts(names: Iterable[str]) -> tuple[int, int]:
    """Return how many rows parts hold, and how many of them failed, by their names."""
    counts = [name.removesuffix(".parquet").split("-")[-2:] for name in names if not name.startswith(".")]
    return sum(int(rows) for rows, _ in counts), sum(int(failed) for _, failed in counts)


def _kept(row: int, one: Input) -> dict[str, Any]:
    """Return an input as it is kept."""
    words = {name: getattr(one, name) for name in ("id", "text", "path")}
    encoded = {name: None if word is None else word.encode("utf-8", NO_TEXT) for name, word in words.items()}
    return {"row": row, **encoded, "fields": json.dumps(one.fields, default=str), "length": one.length}


def _input(held: Mapping[str, Any]) -> Input:
    """Return an input that was kept."""
    id, text, path = (
        None if held[name] is None else held[name].decode("utf-8", NO_TEXT) for name in ("id", "text", "path")
    )
    return Input(id or "", text, path, json.loads(held["fields"]))


def _digested(inputs: Iterable[Input], take: Callable[[int, Sequence[Input]], None]) -> tuple[int, str]:
    """Hand over blocks of inputs, with the row of each first one; return how many inputs there are, and a digest."""
    digest, rows = hashlib.sha256(), 0
    for block in _blocks(inputs):
        digest.update("".join(json.dumps(asdict(one), default=str) + "\n" for one in block).encode())
        take(rows, block)
        rows += len(block)
    return rows, digest.hexdigest()


def _blocks(inputs: Iterable[Input]) -> Iterator[list[Input]]:
    block: list[Input] = []
    for one in inputs:
        block.append(one)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block
