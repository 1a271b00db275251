"""One go at a run: what is begun or taken up again, tried on a few inputs, worked through, and summed up."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from intgrads.archives.archive import read_manifest
from intgrads.bulk import plan
from intgrads.bulk.inputs import Columns, InputsError, left_out, read_inputs
from intgrads.bulk.pool import OneWorker, Workers, answer
from intgrads.bulk.rows import FAILED
from intgrads.bulk.run import Run, digest_of_archive
from intgrads.bulk.store import BLOCK, Store, whole
from intgrads.bulk.summary import Summary, report, summary
from intgrads.kinds import KINDS
from intgrads.serving.unpacked import unpacked


class OtherRunError(ValueError):
    """The folder holds a run that asks something else."""


class OptionsError(ValueError):
    """What is asked of every input is wrong."""


class DiskFullError(OSError):
    """The disk will not hold what comes."""


@dataclass(frozen=True)
class Sizes:
    """What the rows that are left will take on the disk, by those that were tried, and what it has free: bytes."""

    rows: int
    results: int
    tensors: int
    free: int


@dataclass(frozen=True)
class Asked:
    """What a run asks, as its command has it; see :class:`intgrads.bulk.run.Run`."""

    source: str
    columns: Columns
    archive: Path
    options: Mapping[str, Any]
    tensors: tuple[str, ...]


class Session:
    """One go at a run. Its folder has to be locked.

    Parameters
    ----------
    store : Store
    asked : Asked
    retry_failed : bool
        Whether rows that failed are tried again.

    Raises
    ------
    InputsError
        If the inputs cannot be read, or there are none.
    OtherRunError
        If the folder holds another run.
    OSError, ValueError
        If the archive is none.
    """

    def __init__(self, store: Store, asked: Asked, retry_failed: bool) -> None:
        self.store, self.asked = store, asked
        self.fresh = store.run is None
        self.run = self._begun() if self.fresh else self._taken_up()
        self._merged = 0, 0
        store.make()
        store.tidy(plan.blocks(self.run.rows))
        self.merge()
        self.state = plan.state(store, self.run.rows, retry_failed)
        self._merged = 0, 0  # what was there before is part of the state
        self.notes: list[str] = []
        if others := left_out(asked.source):
            self.notes.append(f"{others} files of {asked.source} are neither pictures nor texts, and were left out")

    def _begun(self) -> Run:
        self.store.directory.mkdir(parents=True, exist_ok=True)
        run = self._run(*self.store.write_inputs(read_inputs(self.asked.source, self.asked.columns)))
        if not run.rows:
            raise InputsError(f"{self.asked.source} holds no inputs")
        self.store.begin(run)
        return run

    def _taken_up(self) -> Run:
        held = self.store.run
        assert held is not None
        run = self._run(*self.store.digest_inputs(read_inputs(self.asked.source, self.asked.columns)))
        if others := held.differences(run):
            raise OtherRunError(
                f"{self.store.directory} holds a run over {held.rows} inputs that asks something else "
                f"({', '.join(others)}); choose another --out, or remove it"
            )
        return held

    def _run(self, rows: int, inputs: str) -> Run:
        manifest = read_manifest(unpacked(self.asked.archive)[0])
        kind = next(kind for kind in KINDS if kind.name in manifest)
        return Run(
            model=manifest["model"],
            takes=kind.request.takes,
            archive=digest_of_archive(self.asked.archive),
            options=dict(self.asked.options),
            tensors=list(self.asked.tensors),
            rows=rows,
            inputs=inputs,
        )

    # ------------------------------------------------------------------ a few inputs first
    def try_out(self, workers: Workers) -> Sizes | None:
        """Answer a few inputs; return what all will take on the disk, or None where none of them was answered.

        Raises
        ------
        OptionsError
            If all are refused for what is asked of every input.
        DiskFullError
            If the disk will not hold what comes.
        """
        tried = plan.samples(self.state.left)
        with OneWorker(workers) as worker:
            for chunk in tried:
                worker.answer(chunk)
        done, failed, results = 0, [], 0
        for chunk in tried:
            for part in self.store.parts_of(chunk.block):
                file = pq.ParquetFile(part)
                rows = file.read(["status", "error_field", "error"]).to_pylist()
                failed += [row for row in rows if row["status"] == FAILED]
                done += len(rows)
                results += sum(
                    file.metadata.row_group(group).column(column).total_compressed_size
                    for group in range(file.metadata.num_row_groups)
                    for column in range(file.metadata.num_columns)
                )
        if failed and len(failed) == done:
            self._check_options(failed)
            return None
        if done == len(failed):
            return None
        left, answered = self.state.rows_left - done, done - len(failed)
        tensors = sum(place.stat().st_size for place in self.store.tensors.iterdir()) if self.fresh else 0
        sizes = Sizes(
            left, left * results // done, left * tensors // answered, shutil.disk_usage(self.store.directory).free
        )
        if sizes.results + sizes.tensors > sizes.free:
            raise DiskFullError(
                f"{left} rows would take about {in_words(sizes.results + sizes.tensors)}, and the disk of "
                f"{self.store.directory} has {in_words(sizes.free)} free; keep fewer --tensors, or choose another --out"
            )
        return sizes

    def _check_options(self, failed: list[dict[str, Any]]) -> None:
        """Refuse to go on where every input would be refused for the same reason, which is not the input."""
        first = failed[0]
        if first["error_field"] in {*self.asked.options, "fields"} and all(
            one["error"] == first["error"] for one in failed
        ):
            if self.fresh:
                self.discard()
            raise OptionsError(f"{first['error_field']}: {first['error']}")

    def discard(self) -> None:
        """Remove what this go has made: nothing of worth is in it."""
        for folder in (self.store.results, self.store.parts, self.store.tensors, self.store.under_way):
            shutil.rmtree(folder, ignore_errors=True)
        self.store.inputs.unlink(missing_ok=True)
        (self.store.directory / "run.json").unlink(missing_ok=True)

    # ------------------------------------------------------------------ all of them
    def counts(self) -> tuple[int, int]:
        """Return how many rows are finished by now, and how many of them failed."""
        done, failed = self.store.counts()
        return self.state.done + self._merged[0] + done, self.state.failed + self._merged[1] + failed

    def work(self, workers: Workers) -> None:
        """Answer what is left; each block becomes results when all of it is finished."""
        left = {
            block: [row for row in rows if row not in kept]
            for block, rows in self.state.left.items()
            for kept in [{row for part in self.store.parts_of(block) for row in self.store.rows_of(part)}]
        }
        chunks = list(plan.chunks({block: rows for block, rows in left.items() if rows}, workers.count))
        open_chunks = {block: sum(chunk.block == block for chunk in chunks) for block in left}
        for block in answer(workers, chunks) if chunks else ():
            open_chunks[block] -= 1
            if not open_chunks[block]:
                self._merge(block)

    def merge(self) -> None:
        """Make results of all that is finished."""
        for block in range(plan.blocks(self.run.rows)):
            self._merge(block)

    def _merge(self, block: int) -> None:
        rows, failed = self.store.merge(block)
        self._merged = self._merged[0] + rows, self._merged[1] + failed

    # ------------------------------------------------------------------ at the end
    def finish(self, workers: Workers) -> Summary:
        """Sum up a run that is done, with the pages of its worst inputs."""
        whole_run = summary(self.store, self.run)
        self.store.pages.mkdir(exist_ok=True)
        for place in self.store.pages.iterdir():
            place.unlink()
        pages = {}
        with OneWorker(workers) as worker:
            for one in whole_run.worst:
                place = self.store.pages / f"{one.row:08d}.html"
                if worker.page(one.row // BLOCK, one.row, place):
                    pages[one.row] = f"pages/{place.name}"
        whole_run.write(self.store)
        with whole(self.store.report) as place:
            place.write_text(report(whole_run, pages, self.notes), encoding="utf-8")
        for folder in (self.store.parts, self.store.under_way):
            shutil.rmtree(folder)
        return whole_run


def in_words(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:,.1f} GB"
