"""One go at a run: what is begun or taken up again, tried on a few inputs, worked through, and summed up.

Ray is imported by what has workers, and not before.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intgrads.bulk import plan
from intgrads.bulk.inputs import Columns, Input, InputsError, left_out, read_inputs
from intgrads.bulk.plan import Workers
from intgrads.bulk.run import Run
from intgrads.bulk.store import BLOCK, Store, whole
from intgrads.bulk.summary import Summary, report, summary
from intgrads.serving.archives import digest_of_archive, model_of


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
        self._retry_failed = retry_failed
        self._merged = 0, 0
        store.make()
        store.tidy(plan.blocks(self.run.rows))
        self.merge()
        self._look()
        self.notes: list[str] = []
        if others := left_out(asked.source, without=store.directory):
            self.notes.append(f"left out: {others} of the files of {asked.source}, neither pictures nor texts")

    def _look(self) -> None:
        """Look at what is finished and what is left, once all is merged."""
        self.state = plan.state(self.store, self.run.rows, self._retry_failed)
        self._merged = 0, 0

    def _inputs(self) -> Iterator[Input]:
        return read_inputs(self.asked.source, self.asked.columns, without=self.store.directory)

    def _begun(self) -> Run:
        self.store.directory.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in self.store.directory.iterdir() if not self.store.is_of_no_run(path)]
        if others:
            raise OtherRunError(
                f"{self.store.directory} is not empty and holds no run, but {min(others)}; choose another --out"
            )
        run = self._run(*self.store.write_inputs(self._inputs()))
        if not run.rows:
            raise InputsError(f"{self.asked.source} holds no inputs")
        self.store.begin(run)
        return run

    def _taken_up(self) -> Run:
        held = self.store.run
        assert held is not None
        run = self._run(*self.store.digest_inputs(self._inputs()))
        if others := held.differences(run):
            raise OtherRunError(
                f"{self.store.directory} holds a run over {held.rows} inputs that asks something else "
                f"({', '.join(others)}); choose another --out, or remove that folder"
            )
        return held

    def _run(self, rows: int, inputs: str) -> Run:
        digest, model = digest_of_archive(self.asked.archive), model_of(self.asked.archive)
        if model is None:
            raise ValueError(f"{self.asked.archive.name} does not say of which model it is: make it again")
        return Run(
            model=model,
            archive=digest,
            options=dict(self.asked.options),
            tensors=list(self.asked.tensors),
            fields_of_rows=list(self.asked.columns.fields),
            rows=rows,
            inputs=inputs,
        )

    # ------------------------------------------------------------------ a few inputs first
    def try_out(self, workers: Workers) -> None:
        """Answer a few inputs of all lengths, before the others are begun.

        Raises
        ------
        OptionsError
            If all are refused for what is asked of every input.
        """
        from intgrads.bulk.pool import OneWorker

        tried = plan.samples(self.state.left)
        with OneWorker(workers) as worker:
            worker.answer(tried)
        refused = self.store.refusals(tried.block)
        fields, settled = {field for field, _ in refused}, {*self.asked.options, *self.asked.columns.fields, "fields"}
        if len(refused) == len(tried.rows) and len(set(refused)) == 1 and fields <= settled:
            if self.fresh:
                self.store.clear()  # nothing of worth is in it
            raise OptionsError(": ".join(filter(None, refused[0])))
        if self.run.tensors and len(refused) < len(tried.rows):
            missing = sorted(set(self.run.tensors) - self.store.tensor_names())
            if missing:
                self.notes.append(
                    f"none of the inputs that were tried first has a tensor {', '.join(missing)} "
                    "(figures and scores need not be named, they are columns)"
                )
        self.merge()
        self._look()

    def sizes(self) -> Sizes | None:
        """Return what the rows that are left will take on the disk, by those that are finished.

        None where nothing is left, or nothing is known.

        Raises
        ------
        DiskFullError
            If the disk will not hold them.
        """
        rows, results, tensors = self.store.sizes()
        left = self.run.rows - rows
        if not rows or not left:
            return None
        free = shutil.disk_usage(self.store.directory).free
        sizes = Sizes(left, left * results // rows, left * tensors // rows, free)
        if sizes.results + sizes.tensors > free:
            raise DiskFullError(
                f"{left} rows would take about {in_words(sizes.results + sizes.tensors)}, and the disk of "
                f"{self.store.directory} has {in_words(free)} free; keep fewer --tensors, or choose another --out"
            )
        return sizes

    # ------------------------------------------------------------------ all of them
    def counts(self) -> tuple[int, int]:
        """Return how many rows are finished by now, and how many of them failed."""
        done, failed = self.store.counts()
        return self.state.done + self._merged[0] + done, self.state.failed + self._merged[1] + failed

    def work(self, workers: Workers) -> None:
        """Answer what is left; each block becomes results when all of it is finished."""
        from intgrads.bulk.pool import answer

        chunks = list(plan.chunks(self.state.left, workers.count))
        left = Counter(chunk.block for chunk in chunks)
        for block in answer(workers, chunks) if chunks else ():
            left[block] -= 1
            if not left[block]:
                self._merge(block)

    def merge(self) -> None:
        """Make results of all that is finished."""
        for block in range(plan.blocks(self.run.rows)):
            self._merge(block)

    def _merge(self, block: int) -> None:
        rows, failed = self.store.merge(block)
        self._merged = self._merged[0] + rows, self._merged[1] + failed

    # ------------------------------------------------------------------ at the end
    def finished(self) -> Summary | None:
        """Return what became of the run where nothing is left to do, the report included; None else."""
        found = None if self.state.left else summary(self.store, self.run)
        return found if found is not None and found.is_written(self.store) else None

    def finish(self, workers: Workers) -> Summary:
        """Sum up a run that is done, with the pages of its worst inputs."""
        from intgrads.bulk.pool import OneWorker

        whole_run = summary(self.store, self.run)
        self.store.pages.mkdir(exist_ok=True)
        for place in self.store.pages.iterdir():
            place.unlink()
        pages = {}
        with OneWorker(workers, retries=0) as worker:
            for one in whole_run.worst:
                place = self.store.pages / f"{one.row:08d}.html"
                if worker.page(one.row // BLOCK, one.row, place):
                    pages[one.row] = f"pages/{place.name}"
        with whole(self.store.report) as place:
            place.write_text(report(whole_run, self.run, pages, self.notes), encoding="utf-8")
        whole_run.write(self.store)  # last: by it a later go knows that all is done
        return whole_run


def in_words(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:,.1f} GB"
