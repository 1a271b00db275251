"""What goes wrong on purpose: workers that are stopped, killed or short of memory, and clients that ask meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests
from intgrads.serving.torchserve import TorchServe

from shared.serving import pids, post
from shared.toys import encoded, pixels

PICTURE = encoded(pixels(64, 64))


def asking(**fields: str) -> dict[str, Any]:
    """Return a form with the picture, as ``requests.post`` takes it."""
    return {"files": {"data": PICTURE}, "data": fields}


QUICK = asking(format="json", n_steps="2")
"""A request that takes a moment."""

LONG = asking(format="json", n_steps="1000", target_class="[0, 1, 2]", fields="integrated_grads")
"""A request that takes seconds, and whose answer is small."""

LARGE = asking(format="safetensors", n_steps="1000", fields="integrated_directional_grads,intermediates")
"""A request whose answer has about 98 million bytes."""

LARGE_BYTES = 98_000_000


def wait_until(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Wait until something is true; however slow the machine is, not for ever."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def wait_until_computing(pid: int, seconds: float = 0.3) -> None:
    """Wait until a process has computed for some time, beginning now."""

    def computed() -> float:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)

    before = computed()
    wait_until(lambda: computed() - before > seconds, "the worker computes")


def ready(server: TorchServe, model: str) -> set[int]:
    """Return the process ids of the workers that are READY."""
    return {worker["pid"] for worker in server.workers(model) if worker["status"] == "READY"}


def wait_for_another_worker(server: TorchServe, model: str, than: int) -> None:
    """Wait until a worker is READY that is not the one that ended."""
    wait_until(lambda: ready(server, model) - {than}, f"another worker of {model}")


def the_worker(server: TorchServe, model: str) -> int:
    """Return the process id of the one worker that a model has."""
    (pid,) = pids(server, model)
    return pid


def expected(server: TorchServe, model: str) -> Any:
    """Return the answer to :data:`QUICK`."""
    reply = post(server, model, **QUICK)
    assert reply.status_code == 200, reply.text[:500]
    return reply.json()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process as a debugger does; let it go on at the end, if it is still there."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def memory_left(pid: int, size: int) -> Iterator[None]:
    """Let a process have no more than some bytes beyond what it has."""
    process = psutil.Process(pid)
    most = process.rlimit(psutil.RLIMIT_AS)[1]
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + size, most))
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.rlimit(psutil.RLIMIT_AS, (most, most))


@dataclass
class Clients:
    """What clients got who asked all the time."""

    answers: list[Any] = field(default_factory=list)
    """Of those that were answered 200, what the answer says."""
    refusals: list[tuple[int, str]] = field(default_factory=list)
    """Status and body of all others."""
    unanswered: list[str] = field(default_factory=list)
    """What became of those whose connection failed."""

    def ask(self, server: TorchServe, model: str, patience: float) -> None:
        """Ask once."""
        try:
            reply = requests.post(f"{server.url}/predictions/{model}", timeout=patience, **QUICK)
        except requests.RequestException as error:
            self.unanswered.append(f"{type(error).__name__}: {error}")
            return
        if reply.status_code == 200:
            self.answers.append(reply.json())
        else:
            self.refusals.append((reply.status_code, reply.text))


@contextlib.contextmanager
def clients(server: TorchServe, model: str, count: int = 4, patience: float = 120) -> Iterator[Clients]:
    """Let some clients ask :data:`QUICK` again and again; at the end each has its answer, or none within its time."""
    got, over = Clients(), threading.Event()

    def of_one() -> None:
        while not over.is_set():
            got.ask(server, model, patience)

    threads = [threading.Thread(target=of_one) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(got.answers) >= count, "the clients are answered")
        yield got
    finally:
        over.set()
        for thread in threads:
            thread.join()
