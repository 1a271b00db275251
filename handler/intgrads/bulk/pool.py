"""Workers on Ray: a pool that Ray Data gives chunks to, and a single one. Dead ones are replaced, their chunks retried.

Needs the extra ``ray``. https://docs.ray.io/en/latest/data/data.html
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import ray
from numpy.typing import NDArray
from ray import data as ray_data

from intgrads.bulk.plan import Chunk, Workers
from intgrads.errors import said
from intgrads.serving.cluster import join


class Answering:
    """An actor of Ray's: a worker, which tells why it could not be loaded when it is first asked."""

    def __init__(self, workers: Workers) -> None:
        # Raised here, Ray would start it again and again.
        self.failure = ""
        try:
            from intgrads.bulk.worker import Worker

            self.worker = Worker(Path(workers.directory), Path(workers.archive), workers.cpus)
        except Exception as error:
            self.failure = said(error)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Answer chunks, as Ray Data hands them over; return their blocks."""
        found = [Chunk.from_json(str(text)) for text in batch["chunk"]]
        for chunk in found:
            self.answer(chunk)
        return {"block": np.array([chunk.block for chunk in found])}

    def answer(self, chunk: Chunk) -> None:
        """Answer a chunk."""
        self._check()
        self.worker.answer(chunk.block, chunk.rows)

    def page(self, block: int, row: int, place: str) -> bool:
        """Write the page about an input; return whether there is one."""
        self._check()
        return self.worker.page(block, row, Path(place))

    def _check(self) -> None:
        if self.failure:
            raise RuntimeError(f"the archive could not be loaded: {self.failure}")


@contextmanager
def joined(workers: Workers) -> Iterator[None]:
    """Have Ray for a while."""
    # Of every pool Ray says that its workers might not be restarted, on standard error, whatever its loggers are told.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # What fails is raised, and told by whoever catches it.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with _silent():
        join(workers.address)
    try:
        _check_room(workers)
        context = ray_data.DataContext.get_current()
        context.enable_progress_bars = False
        yield
    finally:
        ray.shutdown()


def _check_room(workers: Workers) -> None:
    """Refuse workers that no machine has room for: Ray would wait for one without a word."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        largest = max((machine.get(name, 0.0) for machine in machines), default=0.0)
        if wanted > largest:
            raise ValueError(f"a worker is to have {wanted:g} {name}s, and no machine has more than {largest:g}")


@contextmanager
def _silent() -> Iterator[None]:
    """Keep from standard error what Ray's libraries write there as they start, past Python: no loggers reach it."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class OneWorker:
    """A single worker, for as long as its ``with`` lasts.

    Its methods raise OSError where something cannot be written, and RuntimeError where the archive cannot be loaded.
    """

    def __init__(self, workers: Workers, retries: int = -1) -> None:
        self._workers, self._retries = workers, retries
        self._actor = self._started()

    def _started(self) -> Any:
        actor = ray.remote(
            max_restarts=-1, max_task_retries=self._retries, num_cpus=self._workers.cpus, num_gpus=self._workers.gpus
        )
        return actor(Answering).remote(self._workers)

    def __enter__(self) -> Self:
        """Return the worker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        ray.kill(self._actor)

    def answer(self, chunk: Chunk) -> None:
        """Have it answer a chunk."""
        with _plainly():
            ray.get(self._actor.answer.remote(chunk))

    def page(self, block: int, row: int, place: Path) -> bool:
        """Have it write the page about an input; return whether there is one: none where it dies of it."""
        with _plainly():
            try:
                return bool(ray.get(self._actor.page.remote(block, row, str(place))))
            except ray.exceptions.RayActorError:
                # Another one: what is asked of this while it starts again is refused.
                ray.kill(self._actor)
                self._actor = self._started()
                return False


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise what a worker raised as it was, without what Ray says around it."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while isinstance(cause, ray.exceptions.RayError):
            cause = getattr(cause, "cause", None) or cause.__cause__
            # What user code raised within Ray Data stands behind an exception of that.
            if cause is not None and cause.__cause__ is not None:
                cause = cause.__cause__
        raise cause or RuntimeError(str(error)) from None


def answer(workers: Workers, chunks: Sequence[Chunk]) -> Iterator[int]:
    """Have a pool of workers answer chunks; yield the block of each that is finished, as they come.

    Raises
    ------
    OSError
        If a worker cannot write what is finished.
    RuntimeError
        If the archive cannot be loaded.
    """
    items = [{"chunk": chunk.to_json()} for chunk in chunks]
    finished = ray_data.from_items(items, override_num_blocks=len(items)).map_batches(
        Answering,
        batch_size=1,
        batch_format="numpy",
        compute=ray_data.ActorPoolStrategy(size=workers.count),
        fn_constructor_args=(workers,),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    with _plainly():
        for batch in finished.iter_batches(batch_size=None, prefetch_batches=0):
            yield from (int(block) for block in batch["block"])
