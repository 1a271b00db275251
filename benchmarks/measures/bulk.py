"""A data set by ``intgrads bulk``, beside Captum in a loop and beside requests to a server, and what Ray costs.

Each way answers the same inputs with the same fixed number of Gauss-Legendre nodes, a thread for each worker or all of
the machine's cores for a single one. A run has fixed costs: it starts Ray, and loads the archive. Its rate is therefore
taken from what it wrote: from the first rows of its workers to the last file of results, plus the part of the work that
was done before, by the seconds that each row tells. What is left of the run are its fixed costs. Two runs over
different numbers of inputs would tell less: their starts differ by more than the inputs take.

- ``bulk``: inputs a second of each way, and the seconds that a run takes besides. Captum reads and prepares each input
  as we do, predicts, and integrates with its delta. Requests are sent by as many clients as there are workers.
- ``bulk-ray``: what an input takes a worker in a process without Ray, and what it takes a run with one worker; also of
  empty texts, which are refused at once, so that almost nothing but the way there and back is left.
- ``bulk-memory``: what the processes of a long run hold as it goes on.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import torch
from captum.attr import IntegratedGradients
from inputs import SENTENCES, plain_module, prepared
from intgrads.archives.archive import open_archive
from intgrads.archives.archiver import make_archive
from intgrads.bulk import plan
from intgrads.bulk.inputs import Columns
from intgrads.bulk.session import Asked, Session
from intgrads.bulk.store import Store
from intgrads.bulk.worker import Worker
from intgrads.call import Call
from intgrads.networks.family import Order
from intgrads.serving.torchserve import TorchServe
from intgrads.serving.unpacked import unpacked
from intgrads.settings import Settings
from options import Options, Row, Tables
from PIL import Image
from timing import in_own_process, resident, spread

from measures.server import DEMOS, Ask, Load, served, wait_for_workers

ROOT = Path(__file__).parents[2]
PICTURES = ("cat.jpg", "shapes.png")
"""Of the examples, which others are cut from."""

TEXTS, LEAST_WORDS, MOST_WORDS = 80, 3, 200
CUTTINGS = 40
EMPTY = 2000
LONG, LONG_STEPS = 10_000, 2
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
TIMES = 3
"""How often a run has the inputs, so that its first rows are a small part of it."""

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Case:
    """Inputs, and what is asked of them.

    Attributes
    ----------
    name : str
    archive : str
        Of :data:`measures.server.DEMOS`.
    steps : int
    inputs : tuple
        Texts, or paths of pictures.
    """

    name: str
    archive: str
    steps: int
    inputs: tuple[str, ...] | tuple[Path, ...]

    @property
    def column(self) -> str:
        """What the inputs are called in a table."""
        return "text" if self.archive == "text" else "path"

    def table(self, place: Path, times: int = 1) -> Path:
        """Write a table of the inputs, several times over, and return its path."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([self.column])
            rows.writerows([one] for one in (*self.inputs,) * times)
        return place

    def calls(self) -> Iterator[Call]:
        """Yield what is sent of each input."""
        for one in self.inputs:
            if isinstance(one, Path):
                yield Call(one.read_bytes(), content_type="image/jpeg")
            else:
                yield Call({"sequence": one})

    def asks(self) -> list[Ask]:
        """Return each input as a request to a server."""
        options = {"n_steps": (None, str(self.steps)), "format": (None, "json")}
        sent: list[dict[str, Any]] = [
            {"data": one.read_bytes()} if isinstance(one, Path) else {"sequence": (None, one)} for one in self.inputs
        ]
        return [Ask(f"{self.name}: {k}", self.archive, form | options) for k, form in enumerate(sent)]


def measure(options: Options) -> Tables:
    """Return the three tables."""
    tables: Tables = {"bulk": [], "bulk-ray": [], "bulk-memory": []}
    # Ray's sockets lie below it, and their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="b-") as folder, temporary_files_in(Path(folder) / "t"):
        place = Path(folder)
        for case in cases(place / "inputs", options):
            archives = {threads: archive(place, case.archive, threads) for threads in {1, CORES}}
            of_rounds = Rounds(case, place, archives, options)
            tables["bulk"] += of_rounds.rates()
            tables["bulk-ray"].append(of_rounds.cost_of_ray())
        empty = Case("empty texts", "text", LONG_STEPS, ("",) * (20 if options.tiny else EMPTY))
        if options.wants(empty.name):
            of_rounds = Rounds(empty, place, {1: archive(place, "text", 1)}, options)
            tables["bulk-ray"].append(of_rounds.cost_of_ray())
        long = Case("short texts", "text", LONG_STEPS, tuple(texts(40 if options.tiny else LONG, most=5)))
        if options.wants(long.name):
            tables["bulk-memory"] = memory(place, long, archive(place, "text", 1))
    return tables


def cases(place: Path, options: Options) -> Iterator[Case]:
    """Yield the cases that are wanted."""
    of_texts = tuple(texts(8, most=20) if options.tiny else texts(TEXTS))
    if options.wants("texts, 20 steps"):
        yield Case(f"{len(of_texts)} texts, 20 steps", "text", 20, of_texts)
    if options.wants("pictures, 10 steps") and not options.tiny:
        of_pictures = tuple(pictures(place, CUTTINGS))
        yield Case(f"{len(of_pictures)} pictures, 10 steps", "image", 10, of_pictures)


def texts(count: int, least: int = LEAST_WORDS, most: int = MOST_WORDS) -> Iterator[str]:
    """Yield texts of very different lengths, the same at each call: as many of 3 to 6 words as of 100 to 200."""
    chance = random.Random(0)
    for _ in range(count):
        words: list[str] = []
        length = round(exp(chance.uniform(log(least), log(most))))
        while len(words) < length:
            words += chance.choice(SENTENCES).split()
        yield " ".join(words[:length])


def pictures(place: Path, count: int) -> Iterator[Path]:
    """Yield files of pictures, the same at each call: parts of the examples, some of them flipped."""
    chance = random.Random(0)
    place.mkdir(parents=True)
    for k in range(count):
        whole = Image.open(ROOT / "examples" / PICTURES[k % len(PICTURES)]).convert("RGB")
        width, height = (round(side * chance.uniform(0.5, 1)) for side in whole.size)
        left, top = chance.randint(0, whole.width - width), chance.randint(0, whole.height - height)
        part = whole.crop((left, top, left + width, top + height))
        if chance.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part.save(place / f"{k}.jpg", quality=95)
        yield place / f"{k}.jpg"


@contextmanager
def temporary_files_in(place: Path) -> Iterator[None]:
    """Have this process and those that it starts keep temporary files in a folder: one unpacked archive for all."""
    place.mkdir()
    names = ("TMPDIR", "RAY_TMPDIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(place)))
    tempfile.tempdir = None
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        tempfile.tempdir = None


def order_of(name: str, threads: int) -> Order:
    """Return the order of a demo's archive whose workers have so many threads."""
    return Order(DEMOS[name].model, None, None, Settings(threads=threads))


def archive(place: Path, name: str, threads: int) -> Path:
    """Return a demo's archive, made where it is not there yet."""
    store = place / f"archives-{threads}"
    found = store / f"{name}.mar"
    return found if found.exists() else make_archive(order_of(name, threads), name, store=store)


# ---------------------------------------------------------------------- ways
@dataclass(frozen=True)
class Taken:
    """What a way took: inputs a second, and the seconds besides; None where they were not measured."""

    rate: float
    start: float | None = None


@dataclass(frozen=True)
class Begun:
    """A run of ``intgrads bulk``, begun when it is entered and waited for when it is left.

    Attributes
    ----------
    place : Path
        Where it writes.
    source, archive : Path
    steps, workers, threads : int
        Threads are of each worker.
    """

    place: Path
    source: Path
    archive: Path
    steps: int
    workers: int = 1
    threads: int = 1

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Begin it, yield its process, and wait for its end.

        Raises
        ------
        RuntimeError
            If it fails. Inputs that are refused do not count.
        """
        command = [sys.executable, "-m", "intgrads.command.main", "bulk", str(self.source), f"--model={self.archive}"]
        command += [f"--out={self.place}", f"--field=n_steps={self.steps}", f"--workers={self.workers}"]
        command += [f"--cpus={self.threads}", "--json"]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "handler")}
        with tempfile.TemporaryFile("w+") as said:
            with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said) as process:
                try:
                    yield process
                except BaseException:
                    process.terminate()
                    said.seek(0)
                    print(said.read()[-1000:], file=sys.stderr)
                    raise
            if process.returncode not in {0, 3}:
                said.seek(0)
                raise RuntimeError(f"intgrads bulk ended with {process.returncode}: {said.read()[-1000:]}")


def by_bulk(place: Path, case: Case, archive: Path, workers: int, threads: int) -> Taken:
    """Return what a run of ``intgrads bulk`` takes."""
    store = Store(place / "run")
    source = case.table(place / "inputs.csv", TIMES)
    started = time.perf_counter()
    with Begun(store.directory, source, archive, case.steps, workers, threads).running() as run:
        begun, before = first_written(store, run)
    whole = time.perf_counter() - started
    table = pq.read_table(store.results, columns=["row", "seconds"]).to_pylist()
    each = {row["row"]: row["seconds"] for row in table}
    share = sum(seconds for row, seconds in each.items() if row not in before) / sum(each.values())
    ended = max(result.stat().st_mtime for result in store.results.iterdir())
    working = (ended - begun) / share
    return Taken(len(each) / working, whole - working)


def first_written(store: Store, run: subprocess.Popen[bytes]) -> tuple[float, set[int]]:
    """Wait until the workers of a run have written rows besides those that were tried; return when, and all by then."""
    while run.poll() is None:
        with suppress(OSError):  # parts come and go
            parts = [(part.stat().st_mtime, store.rows_of(part)) for part in store.parts.glob("*.parquet")]
            rows: set[int] = set()
            for at, of_part in sorted(parts):
                rows.update(of_part)
                if len(rows) > plan.SAMPLES:
                    return at, rows
        time.sleep(0.05)
    raise RuntimeError(f"intgrads bulk ended with {run.returncode} before its workers wrote anything")


def by_captum(case: Case, archive: Path, threads: int) -> float:
    """Return inputs a second of Captum in a loop; for a process of its own."""
    torch.set_num_threads(threads)
    directory, device = unpacked(archive)[0], torch.device("cpu")
    network, plain = open_archive(directory, device).network, plain_module(directory)
    torch.set_num_threads(threads)

    def attribute(calls: Iterable[Call]) -> None:
        for call in calls:
            one = prepared("", call, network, plain, device)
            with torch.no_grad():
                target = int(one.plain(one.x)[0].argmax())
            IntegratedGradients(one.plain).attribute(
                one.x,
                one.baseline,
                target=target,
                n_steps=case.steps,
                method="gausslegendre",
                return_convergence_delta=True,
            )

    attribute(list(case.calls())[:WARM])
    started = time.perf_counter()
    attribute(case.calls())
    return len(case.inputs) / (time.perf_counter() - started)


WARM = 4
"""Inputs that a way answers before it is measured, as a run tries some."""


def without_ray(place: Path, case: Case, archive: Path) -> float:
    """Return inputs a second of a worker that no Ray is around; for a process of its own."""
    source = case.table(place / "inputs.csv")
    asked = Asked(str(source), Columns(), archive, {"n_steps": case.steps}, ())
    session = Session(Store(place / "run"), asked, retry_failed=False)
    worker = Worker(place / "run", archive, 1)
    tried = plan.samples(session.state.left)
    worker.answer(tried.block, tried.rows)
    started = time.perf_counter()
    for chunk in plan.chunks(session.state.left, 1):
        worker.answer(chunk.block, chunk.rows)
    # Those that were tried are left as they are.
    return (len(case.inputs) - len(tried.rows)) / (time.perf_counter() - started)


def by_requests(server: TorchServe, case: Case, clients: int) -> float:
    """Return inputs a second of clients that send each as a request."""
    with closing(Load(server, case.asks(), clients)) as sent:
        sent()
    return len(case.inputs) / sent.seconds[0]


# ---------------------------------------------------------------------- in turns
Way = tuple[str, int, int]
"""What is done, by how many workers, with how many threads each."""

BULK, CAPTUM, ONE_BY_ONE, WORKER = "intgrads bulk", "Captum, a loop", "requests to TorchServe", "a worker without Ray"


class Rounds:
    """Rounds in which the ways alternate over the inputs of a case."""

    def __init__(self, case: Case, place: Path, archives: dict[int, Path], options: Options) -> None:
        self.case, self.archives = case, archives
        self._place, self._turns = place, 0
        self.taken: dict[Way, list[Taken]] = {}
        refused = not any(case.inputs)
        # Enough to see that it runs, and to tell what Ray costs.
        counts = (1,) if options.tiny or refused else (1, 2)
        with ExitStack() as stack:
            self._servers = {} if refused else {count: stack.enter_context(self._served(count)) for count in counts}
            for _ in range(options.rounds):
                for way in self._ways(refused, counts):
                    self.taken.setdefault(way, []).append(self._take(*way))
                    print(case.name, way, self.taken[way][-1], flush=True)

    def _ways(self, refused: bool, counts: Sequence[int]) -> list[Way]:
        if refused:
            return [(WORKER, 1, 1), (BULK, 1, 1)]
        ways = [(CAPTUM, 1, 1), (ONE_BY_ONE, 1, 1), (WORKER, 1, 1), (BULK, 1, 1)]
        ways += [(what, count, 1) for count in counts[1:] for what in (ONE_BY_ONE, BULK)]
        # A second thread is no other way where a worker has all the cores anyway.
        return ways + [(what, 1, CORES) for what in (CAPTUM, BULK) if CORES > 1 and len(counts) > 1]

    @contextmanager
    def _served(self, count: int) -> Iterator[TorchServe]:
        name = self.case.archive
        with served(self._new_place(), {name: order_of(name, 1)}, count) as server:
            wait_for_workers(server, name, count)
            yield server

    def _new_place(self) -> Path:
        self._turns += 1
        return self._place / f"{self.case.archive}-{len(self.case.inputs)}-{self._turns}"

    def _take(self, what: str, workers: int, threads: int) -> Taken:
        archive, place = self.archives[threads], self._new_place()
        if what == BULK:
            return by_bulk(place, self.case, archive, workers, threads)
        if what == CAPTUM:
            return Taken(in_own_process(by_captum, self.case, archive, threads))
        if what == WORKER:
            return Taken(in_own_process(without_ray, place, self.case, archive))
        return Taken(by_requests(self._servers[workers], self.case, workers))

    def rates(self) -> list[Row]:
        """Return inputs a second of each way."""
        rows: list[Row] = []
        for (what, workers, threads), taken in self.taken.items():
            captums = self.taken[CAPTUM, 1, threads]
            starts = [one.start for one in taken if one.start is not None]
            rows.append(
                {
                    "inputs": self.case.name,
                    "by": what,
                    "workers": workers,
                    "threads of each": threads,
                    "inputs a second": spread([one.rate for one in taken]),
                    "times Captum's": spread([one.rate / its.rate for one, its in zip(taken, captums, strict=True)]),
                    "start and end, s": spread(starts) if starts else None,
                }
            )
        return rows

    def cost_of_ray(self) -> Row:
        """Return what an input takes a worker without Ray and with it."""
        without, with_it = self.taken[WORKER, 1, 1], self.taken[BULK, 1, 1]
        each = [(1000 / bare.rate, 1000 / one.rate) for bare, one in zip(without, with_it, strict=True)]
        return {
            "inputs": f"{len(self.case.inputs)} empty texts" if not any(self.case.inputs) else self.case.name,
            "a worker without Ray, ms": spread([bare for bare, _ in each]),
            "a run with one worker, ms": spread([one for _, one in each]),
            "more by, ms": spread([one - bare for bare, one in each]),
            "start and end, s": spread([one.start for one in with_it if one.start is not None]),
        }


# ---------------------------------------------------------------------- memory
KINDS = ("driver", "worker", "Ray's processes", "object store")


def memory(place: Path, case: Case, archive: Path) -> list[Row]:
    """Return what the processes of a run hold as it goes on."""
    store, rows = Store(place / "long"), len(case.inputs)
    samples: list[tuple[int, dict[str, int]]] = []
    with Begun(store.directory, case.table(place / "long.csv"), archive, case.steps).running() as run:
        while run.poll() is None:
            with suppress(OSError, psutil.Error):  # files and processes come and go
                if (done := rows_of(store)) and (held := held_by(run.pid)):
                    samples.append((done, held))
            time.sleep(0.5)
    found: list[Row] = []
    for share in SHARES:
        # Where there is none of a share, the last before the worker ended.
        done, held = next((one for one in samples if one[0] >= share * rows), samples[-1])
        found.append({"of": f"{rows} short texts", "finished": done} | {f"{kind}, MB": held[kind] for kind in KINDS})
        print(found[-1], flush=True)
    return found


def rows_of(store: Store) -> int:
    """Return how many rows of a run are finished, as its files tell it."""
    merged = sum(int(pq.ParquetFile(place).metadata.num_rows) for place in store.results.glob("*.parquet"))
    return merged + store.counts()[0]


def held_by(pid: int) -> dict[str, int]:
    """Return the megabytes that the processes of a run hold; nothing while no worker runs.

    Those of Ray's are told without the memory that they share, which is the object store's.
    """
    held = dict.fromkeys(KINDS, 0)
    held["driver"] = 1024 * resident("VmRSS", pid)
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(OSError, psutil.Error, IndexError):  # it has ended
            command = " ".join(process.cmdline())
            whole, shared = (1024 * resident(name, process.pid) for name in ("VmRSS", "RssShmem"))
            if "MapBatches(Answering)" in command:
                held["worker"] += whole
                continue
            held["Ray's processes"] += whole - shared
            if "raylet/raylet" in command:
                held["object store"] = object_store(process.pid)
    return {kind: round(size / 1e6) for kind, size in held.items()} if held["worker"] else {}


def object_store(raylet: int) -> int:
    """Return the bytes of the object store that have been written to so far, given the process that keeps it.

    It is a file without a name, of which memory is taken where something was written.
    """
    files = [place for place in Path(f"/proc/{raylet}/fd").iterdir() if "plasma" in str(place.readlink())]
    return sum(512 * place.stat().st_blocks for place in files)
