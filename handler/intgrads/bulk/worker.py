"""A worker of a run: an archive, loaded, that answers some rows of a block at a time and keeps what it answered.

While the network computes one batch, a thread reads and decodes the next. Each answer is the service's own, so numbers
are those that a server sends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intgrads.bulk.inputs import Input
from intgrads.bulk.rows import failed_row, failure, row_of, table_of
from intgrads.bulk.run import Run
from intgrads.bulk.store import Store
from intgrads.call import Call
from intgrads.client.asking import body
from intgrads.client.errors import ClientError
from intgrads.service import Batch
from intgrads.serving.archives import digest_of_archive
from intgrads.serving.loaded import loaded

KEPT_AFTER, KEPT_BYTES = 5.0, 64 * 2**20
"""Seconds, or bytes of tensors, after which finished rows are written: what is lost where a worker dies."""

MOST_DEATHS = 3
"""Workers that may die on an input before it is given up."""


class Worker:
    """A loaded archive, and the folder of its run.

    Parameters
    ----------
    directory : Path
        Of the run.
    archive : Path
        NAME.mar.
    cpus : float
        Cores that it has.

    Raises
    ------
    OSError, ValueError, CheckpointError
        If the archive cannot be loaded.
    """

    def __init__(self, directory: Path, archive: Path, cpus: float) -> None:
        self.store = Store(directory)
        run = self.store.run
        if run is None:
            raise ValueError(f"{directory} holds no run")
        if digest_of_archive(archive) != run.archive:
            raise ValueError(f"{archive.name} is another archive than the run was begun with")
        self.run: Run = run
        self.service, self.together, _ = loaded(archive, cpus)

    def answer(self, block: int, rows: Sequence[int]) -> None:
        """Answer rows of a block, and keep them; those that a worker before this one has kept are left as they are.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        inputs = self.store.read_inputs(block)
        kept = {row for part in self.store.parts_of(block) for row in self.store.rows_of(part)}
        left = [row for row in rows if row not in kept]
        pending = _Pending(self.store, self.run, block, self.service.network.request.takes)
        deadly = self.store.marks()
        for row in left:
            if len(deadly.get(row, ())) >= MOST_DEATHS:
                pending.add(failed_row(row, inputs[row], "WorkerDied", f"{MOST_DEATHS} workers died on this input"), {})
        left = [row for row in left if row not in pending]
        groups = self._together([row for row in left if row not in deadly])
        with ThreadPoolExecutor(1) as reader:
            # Marked before they are read: a worker may die of that, too.
            ahead = [(self._marks(group), reader.submit(self._read, group, inputs)) for group in groups[:1]]
            for number in range(len(groups)):
                marks, reading = ahead.pop()
                read = reading.result()
                for group in groups[number + 1 : number + 2]:
                    ahead.append((self._marks(group), reader.submit(self._read, group, inputs)))
                self._compute(read, inputs, pending)
                self._unmark(marks)
        # On these a worker died, or beside them: each alone, so that the next death tells which it is.
        for row in (row for row in left if row in deadly):
            pending.write()
            marks = self._marks([row])
            self._compute(self._read([row], inputs), inputs, pending)
            self._unmark(marks)
        pending.write()

    def _together(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """Cut rows into those that are answered together: as many as the archive says."""
        return [rows[start : start + self.together] for start in range(0, len(rows), self.together)]

    def _marks(self, rows: Sequence[int]) -> list[Path]:
        return [self.store.mark(row) for row in rows]

    def _unmark(self, marks: Sequence[Path]) -> None:
        for mark in marks:
            mark.unlink(missing_ok=True)

    def page(self, block: int, row: int, place: Path) -> bool:
        """Write the page about an input; return whether there is one."""
        one = self.store.read_inputs(block)[row]
        call = self._call(one, "html")
        if isinstance(call, Exception):
            return False
        (reply,) = self.service.answer([call])
        if reply.status == 200:
            place.write_bytes(b"".join(reply.body))
        return reply.status == 200

    # ------------------------------------------------------------------ one batch
    def _call(self, one: Input, format: str) -> Call | Exception:
        options = self.run.fields(one.fields)
        if format == "html":
            del options["fields"]
        try:
            content = one.content()
            text, file = (content, None) if isinstance(content, str) else (None, content)
            return Call(body=body(file, text, options, format), content_type="application/json")
        except (ClientError, ValueError) as error:
            return error

    def _read(self, rows: Sequence[int], inputs: Mapping[int, Input]) -> _Read:
        started = time.monotonic()
        calls = {row: self._call(inputs[row], "safetensors") for row in rows}
        readable = {row: call for row, call in calls.items() if isinstance(call, Call)}
        unreadable = {row: str(call) for row, call in calls.items() if not isinstance(call, Call)}
        batch = self.service.read(list(readable.values()))
        return _Read(list(readable), batch, unreadable, time.monotonic() - started)

    def _compute(self, read: _Read, inputs: Mapping[int, Input], pending: _Pending) -> None:
        """Answer what was read."""
        for row, message in read.unreadable.items():
            pending.add(failed_row(row, inputs[row], "Unreadable", message), {})
        started = read.batch.started = time.monotonic()  # the time that it waited for its turn does not count
        self.service.look(read.batch)
        self.service.integrate(read.batch)
        replies = self.service.replies(read.batch)
        seconds = (read.seconds + time.monotonic() - started) / max(1, len(replies))
        for row, reply in zip(read.rows, replies, strict=True):
            pending.add(*row_of(row, inputs[row], reply, seconds))
        del replies
        self.service.give_back_memory()
        if pending.due:
            pending.write()


@dataclass(frozen=True)
class _Read:
    """What was read of a batch: rows, and what waits for the network; and why others could not be."""

    rows: list[int]
    batch: Batch
    unreadable: dict[int, str]
    seconds: float


class _Pending:
    """Finished rows that are not written yet."""

    def __init__(self, store: Store, run: Run, block: int, takes: str) -> None:
        self.store, self.run, self.block, self.takes = store, run, block, takes
        self._empty()

    def _empty(self) -> None:
        self.rows: dict[int, pa.Table] = {}
        self.tensors: dict[str, NDArray[Any]] = {}
        self.since = time.monotonic()

    def __contains__(self, row: int) -> bool:
        return row in self.rows

    def add(self, row: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        number = row["row"]
        try:
            self.rows[number] = table_of(row, self.run, self.takes)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            message = "in a run all rows have one target each, or all a list of them in the run's own fields"
            failed = {name: row[name] for name in ("row", "id", "input")} | failure(
                "BadRequest", message, "target_class"
            )
            self.rows[number], arrays = table_of(failed, self.run, self.takes), {}
        for name in self.run.tensors:
            if name in arrays:
                self.tensors[f"{number}/{name}"] = np.ascontiguousarray(arrays[name])

    @property
    def due(self) -> bool:
        held = sum(array.nbytes for array in self.tensors.values())
        return time.monotonic() - self.since > KEPT_AFTER or held > KEPT_BYTES

    def write(self) -> None:
        if self.rows:
            self.store.write_part(self.block, pa.concat_tables(self.rows.values()), self.tensors)
        self._empty()
