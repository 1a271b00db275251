"""A soak: 2,000 requests of all kinds at a server with two workers for each archive, by four clients.

- ``soak``: how many of each kind were sent, and within what time half of them, and 99 of 100, were answered.
- ``soak-memory``: what each process held after the first 400 requests, and at the end.

It fails where a valid request is not answered, a bad one not refused as it should be, or a worker replaced. Requests
are small, so that many of them pass in minutes.
"""

from __future__ import annotations

import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
from intgrads.serving.torchserve import TorchServe
from options import Options, Tables

from measures.server import DEMOS, LARGE, PICTURE, Ask, Client, percentiles, picture, served, text, wait_for_workers

REQUESTS, CLIENTS, WORKERS = 2000, 4, 2
WARM = 400
"""Requests after which a worker has met every kind many times, and memory should not grow any more."""

GOOD = (
    Ask("picture, json", "image", picture(n_steps="5", format="json")),
    Ask("picture, gzip", "image", picture(n_steps="5", fields=LARGE)),
    Ask("picture, safetensors", "image", picture(n_steps="5", fields=LARGE, format="safetensors")),
    Ask("picture, png", "image", picture(n_steps="5", format="png")),
    Ask("picture, html", "image", picture(n_steps="5", format="html")),
    Ask("picture, superpixels", "image", picture(n_steps="5", format="json", groups="superpixels")),
    Ask("picture, to a tolerance", "image", picture(tolerance="0.4", max_evaluations="20", format="json")),
    Ask("text, json", "text", text(n_steps="10", format="json")),
    Ask("text, gzip", "text", text(n_steps="10")),
    Ask("text, safetensors", "text", text(n_steps="10", format="safetensors")),
    Ask("text, html", "text", text(n_steps="10", format="html")),
    Ask("text, words", "text", text(n_steps="10", format="json", groups="words")),
    Ask("text, to a tolerance", "text", text(tolerance="0.4", max_evaluations="20", format="json")),
    Ask("text, verified", "text", text(n_steps="10", format="json", verify="true")),
)
BAD = (
    (Ask("bad: half a picture", "image", {"data": PICTURE[: len(PICTURE) // 2]}), 400),
    (Ask("bad: no picture", "image", {"data": b"no picture"}), 415),
    (Ask("bad: unknown label", "image", picture(target_class="no such label")), 400),
    (Ask("bad: too many steps", "image", picture(n_steps="1000000")), 400),
    (Ask("bad: unknown field", "text", text(colour="red")), 400),
    (Ask("bad: empty text", "text", {"sequence": (None, "")}), 400),
)
ASKS = tuple((ask, 200) for ask in GOOD) + BAD
"""Every request, and the status of its answer."""


def measure(options: Options) -> Tables:
    """Return the two tables."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "soak", DEMOS, WORKERS) as server:
        for archive in DEMOS:
            wait_for_workers(server, archive, WORKERS)
        soak = Soak(server, 2 * len(ASKS) if options.tiny else REQUESTS)
        return soak.run()


class Soak:
    """Clients that send requests of all kinds, in an order by chance that is the same each time."""

    def __init__(self, server: TorchServe, count: int) -> None:
        self.server, self.count = server, count
        asks = [ASKS[turn % len(ASKS)] for turn in range(count)]
        random.Random(0).shuffle(asks)
        self._turns = iter(asks)
        self._lock = threading.Lock()
        self._taken: dict[str, list[float]] = {ask.name: [] for ask, _ in ASKS}
        self._failed: list[str] = []
        self._warm: Memory = {}

    def run(self) -> Tables:
        """Send them all; return what they took and what the server's processes held.

        Raises
        ------
        RuntimeError
            If a request was not answered as it should be, or a worker was replaced.
        """
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(self._client) for _ in range(CLIENTS)]:
                done.result()
        if self._failed:
            raise RuntimeError(f"{len(self._failed)} of {self.count} went wrong: {self._failed[:5]}")
        at_the_end = memory(self.server)
        if at_the_end.keys() != self._warm.keys():
            raise RuntimeError("a worker was replaced")
        return {
            "soak": [{"request": name, "sent": len(taken)} | percentiles(taken) for name, taken in self._taken.items()],
            "soak-memory": [
                {"process": name, f"after {WARM} requests, MB": self._warm[name, pid], "at the end, MB": held}
                for (name, pid), held in at_the_end.items()
            ],
        }

    def _client(self) -> None:
        with closing(Client(self.server)) as client:
            while (turn := self._next()) is not None:
                ask, expected = turn
                seconds, status, _, body = client.send(ask)
                self._note(ask, seconds, "" if status == expected else f"{ask.name}: {status} {body[:300]!r}")

    def _next(self) -> tuple[Ask, int] | None:
        with self._lock:
            return next(self._turns, None)

    def _note(self, ask: Ask, seconds: float, failure: str) -> None:
        with self._lock:
            self._taken[ask.name].append(seconds)
            if failure:
                self._failed.append(failure)
            done = sum(map(len, self._taken.values()))
            if done == min(WARM, self.count // 2):
                self._warm = memory(self.server)
            if done % 100 == 0:
                print(f"{done} requests, {len(self._failed)} went wrong", flush=True)


Memory = dict[tuple[str, int], int]
"""Megabytes that each process of a server holds, by what it is and its number."""


def memory(server: TorchServe) -> Memory:
    """Return what the workers and TorchServe's own process hold."""
    held: Memory = {}
    for archive in DEMOS:
        for worker in server.workers(archive):
            held[f"worker of {archive}", worker["pid"]] = resident(worker["pid"])
    java = psutil.Process(next(iter(held))[1]).ppid()
    held["TorchServe (Java)", java] = resident(java)
    return held


def resident(pid: int) -> int:
    """Return the megabytes of memory that a process holds."""
    return round(psutil.Process(pid).memory_info().rss / 1e6)
