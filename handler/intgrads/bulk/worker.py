"""A worker of a run: an archive, loaded, that answers some rows of a block at a time and keeps what it answered.

While the network computes one batch, a thread reads and decodes the next. Each answer is the service's own, so numbers
are those that a server sends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intgrads.bulk.inputs import Input
from intgrads.bulk.rows import failed_row, row_of, table_of
from intgrads.bulk.run import Run
from intgrads.bulk.store import Store
from intgrads.call import Call
from intgrads.client.asking import body
from intgrads.client.errors import ClientError
from intgrads.service import Batch
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
        groups = self._groups([row for row in left if row not in pending], set(deadly))
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(self._read, group, inputs) for group in groups[:1]]
            for number, group in enumerate(groups):
                read = ahead.pop().result()
                if number + 1 < len(groups):
                    ahead.append(reader.submit(self._read, groups[number + 1], inputs))
                marks = [self.store.mark(row) for row in group]
                self._compute(read, inputs, pending)
                for mark in marks:
                    mark.unlink(missing_ok=True)
                if pending.due:
                    pending.write()
        pending.write()

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

    def _groups(self, rows: Sequence[int], suspects: Set[int]) -> list[list[int]]:
        """Cut rows into those that are answered together: as many as the archive says, and alone what was died on."""
        others = [row for row in rows if row not in suspects]
        together = [others[start : start + self.together] for start in range(0, len(others), self.together)]
        return together + [[row] for row in rows if row in suspects]

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


class _Read:
    """What was read of a batch: rows, and what waits for the network; and why others could not be."""

    def __init__(self, rows: list[int], batch: Batch, unreadable: dict[int, str], seconds: float) -> None:
        self.rows, self.batch, self.unreadable, self.seconds = rows, batch, unreadable, seconds


class _Pending:
    """Finished rows that are not written yet."""

    def __init__(self, store: Store, run: Run, block: int, takes: str) -> None:
        self.store, self.run, self.block, self.takes = store, run, block, takes
        self._empty()

    def _empty(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.tensors: dict[str, NDArray[Any]] = {}
        self.since = time.monotonic()

    def __contains__(self, row: int) -> bool:
        return row in self.rows

    def add(self, row: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.rows[row["row"]] = row
        for name in self.run.tensors:
            if name in arrays:
                self.tensors[f"{row['row']}/{name}"] = np.ascontiguousarray(arrays[name])

    @property
    def due(self) -> bool:
        held = sum(array.nbytes for array in self.tensors.values())
        return time.monotonic() - self.since > KEPT_AFTER or held > KEPT_BYTES

    def write(self) -> None:
        if self.rows:
            self.store.write_part(self.block, table_of(list(self.rows.values()), self.run, self.takes), self.tensors)
        self._empty()
