"""The server around the integral: what a request takes besides it, what a server gives many clients, and its start.

A real TorchServe on ports of its own, asked by clients on the same machine, whose work counts too.

- ``server-around``: one client, one worker; the client's time less what the network computed (the header
  ``X-Intgrads-Integration-Seconds``). *handler* is what of it passes in our code, reading, preparing and encoding; the
  rest is TorchServe's and HTTP's.
- ``server-load``: several clients, each sending its next request when the last was answered.
- ``server-start``: until a worker is READY, and in a process of its own what loading takes: imports, unpacking, the
  network with its weights, its preparation, the measuring that chooses how layers are computed, and the comparison of
  what was prepared with the network as it came.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import requests
import torch
from intgrads.archives.archiver import make_archive
from intgrads.networks.bit import pth_name
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.serving.torchserve import TorchServe, free_ports
from intgrads.settings import Settings
from networks import named
from options import Options, Row, Tables
from timing import in_own_process, spread

ROOT = Path(__file__).parents[2]
PICTURE = (ROOT / "examples" / "cat.jpg").read_bytes()
TEXT = (ROOT / "examples" / "negation.txt").read_text()
LARGE = "integrated_grads,integrated_directional_grads"


class Answering(Protocol):
    """A server, whichever it is."""

    @property
    def url(self) -> str:
        """Where it answers."""


@dataclass(frozen=True)
class Ask:
    """What is asked: of which archive, and the parts of a form."""

    name: str
    archive: str
    form: dict[str, Any]

    def encoded(self, server: Answering) -> requests.PreparedRequest:
        """Return it as it is sent."""
        return requests.Request("POST", f"{server.url}/predictions/{self.archive}", files=self.form).prepare()


@dataclass(frozen=True)
class Parts:
    """Seconds that a client waited for an answer, those of them in our code, and in the integral; and its bytes."""

    whole: float
    ours: float
    integral: float
    size: int


class Client:
    """A client that keeps its connection: Python's own, which takes less time than requests does."""

    def __init__(self, server: Answering) -> None:
        self._server = server
        self._connection = HTTPConnection(server.url.removeprefix("http://"), timeout=600)
        self._encoded: dict[str, requests.PreparedRequest] = {}

    def post(self, ask: Ask) -> tuple[float, Message, int]:
        """Send what is asked; return seconds, and the headers and the size of the answer."""
        taken, status, headers, body = self.send(ask)
        if status != 200:
            raise RuntimeError(f"{ask.name}: {status} {body[:300]!r}")
        return taken, headers, len(body)

    def send(self, ask: Ask) -> tuple[float, int, Message, bytes]:
        """Send what is asked; return seconds, and the status, the headers and the body of whatever answer comes."""
        if ask.name not in self._encoded:
            self._encoded[ask.name] = ask.encoded(self._server)
        encoded = self._encoded[ask.name]
        started = time.perf_counter()
        self._connection.request("POST", encoded.path_url, encoded.body, dict(encoded.headers))
        reply = self._connection.getresponse()
        body = reply.read()
        taken = time.perf_counter() - started
        return taken, reply.status, reply.headers, body

    def parts(self, ask: Ask) -> Parts:
        """Send what is asked; return what the answer took, part by part."""
        whole, headers, size = self.post(ask)
        return Parts(
            whole, float(headers["X-Intgrads-Seconds"]), float(headers["X-Intgrads-Integration-Seconds"]), size
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def picture(**options: str) -> dict[str, Any]:
    """Return a form with the cat."""
    return {"data": PICTURE} | {name: (None, value) for name, value in options.items()}


def text(**options: str) -> dict[str, Any]:
    """Return a form with a sentence."""
    return {name: (None, value) for name, value in {"sequence": TEXT, **options}.items()}


ASKS = (
    Ask("picture, 1.1 MB of gzip", "image", picture(n_steps="1", fields=LARGE)),
    Ask("picture, 1.2 MB of safetensors", "image", picture(n_steps="1", fields=LARGE, format="safetensors")),
    Ask("picture, all fields of 50 steps", "image", picture(n_steps="50")),
    Ask("picture, json", "image", picture(n_steps="1", format="json")),
    Ask("picture, json of 50 steps", "image", picture(n_steps="50", format="json")),
    Ask("picture, png", "image", picture(n_steps="1", format="png")),
    Ask("text, json", "text", text(n_steps="10", format="json")),
    Ask("text, gzip", "text", text(n_steps="10")),
)

OF_LOAD = (
    Ask("picture, 10 steps", "image", picture(n_steps="10", format="json")),
    Ask("text, 20 steps", "text", text(n_steps="20", format="json")),
)
CLIENTS, WORKERS, BATCHES = (1, 2, 4, 8), (1, 2), (1, 4)

DEMOS = {"image": Order("demo-image", None, None, Settings()), "text": Order("demo-text", None, None, Settings())}


def measure(options: Options) -> Tables:
    """Return the three tables."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return {
            "server-around": around(place / "around", options),
            "server-load": load(place / "load", options),
            "server-start": starts(place / "start", options),
        }


@contextmanager
def served(place: Path, orders: dict[str, Order], workers: int = 1, batch_size: int = 1) -> Iterator[TorchServe]:
    """Start a server of some archives, and stop it by the numbers of its own processes."""
    store = place / "model_store"
    store.mkdir(parents=True)
    for name, order in orders.items():
        make_archive(order, name, workers=workers, batch_size=batch_size, store=store)
    server = TorchServe(place / "run", free_ports(5), [f"{name}.mar" for name in orders], store)
    with server.running_until_left(600):
        yield server


# ---------------------------------------------------------------------- one client
def around(place: Path, options: Options) -> list[Row]:
    """Return what each request takes besides the integral."""
    asks = [ask for ask in ASKS if options.wants(ask.name)][: 2 if options.tiny else None]
    if not asks:
        return []
    times = 2 if options.tiny else 6 * options.rounds
    taken: dict[str, list[Parts]] = {ask.name: [] for ask in asks}
    with served(place, DEMOS) as server, closing(Client(server)) as client:
        for turn in range(times + 2):
            for ask in asks:
                if "50 steps" in ask.name and turn >= times // 3 + 2:
                    continue
                parts = client.parts(ask)
                if turn >= 2:  # the first warm up
                    taken[ask.name].append(parts)
    rows: list[Row] = []
    for name, seconds in taken.items():
        rows.append(
            {
                "request": name,
                "answer, kB": round(seconds[0].size / 1000),
                "integral, ms": round(1000 * statistics.median(one.integral for one in seconds), 1),
                "around it, ms": spread([1000 * (one.whole - one.integral) for one in seconds]),
                "handler, ms": spread([1000 * (one.ours - one.integral) for one in seconds]),
            }
        )
        print(rows[-1], flush=True)
    return rows


# ---------------------------------------------------------------------- several clients
def load(place: Path, options: Options) -> list[Row]:
    """Return throughput and latency for numbers of clients, workers and requests a batch."""
    rows: list[Row] = []
    clients, batches = ((1, 2), (1,)) if options.tiny else (CLIENTS, BATCHES)
    for ask in OF_LOAD[1:] if options.tiny else OF_LOAD:
        for workers in WORKERS[:1] if options.tiny else WORKERS:
            for batch in batches:
                if not options.wants(ask.name):
                    continue
                here = place / f"{ask.archive}-{workers}-{batch}"
                order = {ask.archive: DEMOS[ask.archive]}
                with served(here, order, workers=workers, batch_size=batch) as server:
                    wait_for_workers(server, ask.archive, workers)
                    for count in clients:
                        rows.append(
                            {"request": ask.name, "workers": workers, "batch size": batch, "clients": count}
                            | under_load(server, ask, count, 3 if options.tiny else max(10, 4 * count))
                        )
                        print(rows[-1], flush=True)
    return rows


def wait_for_workers(server: TorchServe, archive: str, count: int, seconds: float = 300) -> None:
    """Wait until all workers are READY, not the first alone."""
    end = time.monotonic() + seconds
    while sum(worker["status"] == "READY" for worker in server.workers(archive)) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"{count} workers of {archive} were not ready after {seconds} s")
        time.sleep(0.3)


def under_load(server: TorchServe, ask: Ask, clients: int, count: int) -> Row:
    """Let clients send their requests, each one after the other."""
    with closing(Load(server, [ask] * count, clients)) as sent:
        sent()
    return sent.figures()


class Load:
    """Clients that send requests, each its next one when the last was answered; called again, they send them again."""

    def __init__(self, server: Answering, asks: Sequence[Ask], clients: int) -> None:
        self.asks = list(asks)
        self.taken: list[float] = []
        self.seconds: list[float] = []
        self._clients = [Client(server) for _ in range(clients)]
        self._pool = ThreadPoolExecutor(clients)
        list(self._pool.map(lambda client: client.post(self.asks[0]), self._clients))  # warms up

    def __call__(self) -> None:
        """Send all of them; note what each took, and all together."""
        left: SimpleQueue[Ask] = SimpleQueue()
        for ask in self.asks:
            left.put(ask)

        def of_client(client: Client) -> list[float]:
            taken = []
            with suppress(Empty):
                while True:
                    taken.append(client.post(left.get_nowait())[0])
            return taken

        started = time.perf_counter()
        self.taken += [seconds for taken in self._pool.map(of_client, self._clients) for seconds in taken]
        self.seconds.append(time.perf_counter() - started)

    def figures(self) -> Row:
        """Return the throughput and the latency of all that were sent so far."""
        return {"requests a second": round(len(self.taken) / sum(self.seconds), 2)} | percentiles(self.taken)

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        for client in self._clients:
            client.close()


def percentiles(taken: list[float]) -> Row:
    """Return within what time half of some requests, and 99 of 100, were answered, given what each took."""
    ordered = sorted(taken)
    return {
        "p50, s": round(statistics.median(ordered), 2),
        "p99, s": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
    }


# ---------------------------------------------------------------------- start
def orders(place: Path) -> dict[str, Order]:
    """Return archives of every kind: the demos, random weights under the authors' names, and a trained TensorMask."""
    found = {
        "demo-image": DEMOS["image"],
        "demo-text": DEMOS["text"],
    }
    resnet = named("ResNet-50").network().state_dict()
    bit = {pth_name(name): tensor for name, tensor in named("BiT R50x1").network().state_dict().items()}
    for name, model, weights in (
        ("resnet50", "timm:resnet50", resnet),
        ("bit-r50x1", "bit-r50x1", {"model_state_dict": bit}),
        ("lanet", "lanet", {"model_state_dict": named("LaNet").network().state_dict()}),
    ):
        file = place / f"{name}.pth"
        torch.save(weights, file)
        labels = [f"class {index}" for index in range(10)] if model.startswith("timm:") else None
        found[name] = Order(model, file, labels, Settings())
    if find_spec("detectron2"):
        found["shapes (TensorMask)"] = Order(
            "tensormask", None, ["bar", "ring", "star"], Settings(),
            tensormask=ROOT / "training" / "shapes.safetensors", tensormask_config=ROOT / "training" / "shapes.yaml",
        )  # fmt: skip
    return found


def starts(place: Path, options: Options) -> list[Row]:
    """Return what the start of each archive takes."""
    place.mkdir()
    rows: list[Row] = []
    archives = orders(place)
    for name in list(archives)[1:2] if options.tiny else archives:
        if not options.wants(name):
            continue
        here = place / name.partition(" ")[0]
        started = time.perf_counter()
        with served(here, {"model": archives[name]}) as server:
            ready = time.perf_counter() - server_started(server, started)
        row = {"archive": name, "MB": round((here / "model_store" / "model.mar").stat().st_size / 1e6, 1)}
        row |= {"READY, s": round(ready, 1)}
        row |= {"imports, s": round(min(importing() for _ in range(2)), 1)}
        row |= in_own_process(loading, here / "model_store" / "model.mar", options.threads)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def server_started(server: TorchServe, since: float) -> float:
    """Return when a server was started, on the clock of :func:`time.perf_counter`."""
    return max(since, time.perf_counter() - (time.time() - server.started()))


def loading(archive: Path, threads: int) -> Row:
    """Return what loading an archive takes, part by part; for a process of its own."""
    torch.set_num_threads(threads)
    profile = cProfile.Profile()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, profile:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        Service.load(Path(folder), torch.device("cpu"))
    whole = time.perf_counter() - started
    spent: Counter[tuple[str, str]] = Counter()
    apart = 0.0
    for (path, _, name), (*_, cumulative, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        function = Path(path).stem, name
        spent[function] += cumulative
        if function == MEASURING:
            apart += sum(of_caller[3] for (_, _, caller), of_caller in callers.items() if caller == "prepare")
    prepared = spent["preparation", "_prepared"]
    parts = {
        "unpacking, s": spent["zipfile", "extractall"],
        "network and weights, s": spent["archive", "build"],
        "preparation, s": prepared + spent["preparation", "prepare_linear"] - (spent[MEASURING] - apart),
        "measuring, s": spent[MEASURING],
        "comparison, s": spent["comparison", "compare_prepared"] - prepared,
    }
    told = {**parts, "rest, s": whole - sum(parts.values())}
    return {title: round(max(0.0, seconds), 1) for title, seconds in told.items()}


MEASURING = "choices", "fastest"
"""The file and the function in which ways of computing a layer are timed: within the preparation, or apart from it."""


def importing() -> float:
    """Return the seconds that a worker's imports take, in a Python of its own."""
    program = (
        "import time; t = time.perf_counter(); from ts.torch_handler.base_handler import BaseHandler; "
        "from intgrads.service import Service; print(time.perf_counter() - t)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "handler")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])
