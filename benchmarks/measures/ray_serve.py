"""Ray Serve beside TorchServe: the same archive, the same requests, in turns in one run.

Both are up at once, and one of them at a time is asked. Layers are computed as PyTorch has them and each worker has one
thread, so that both compute the same.

- ``ray_serve``: requests a second and latency for numbers of workers and clients. The ratio is Ray Serve's requests a
  second over the mean of TorchServe's just before and just after.
- ``ray_serve-around``: what each puts around a request of a single client; see ``measures/server.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from intgrads.networks.family import Order
from intgrads.settings import Settings
from options import Options, Row, Tables
from shared.ray_serve import serving
from timing import alternate, spread

from measures.server import (
    CLIENTS,
    DEMOS,
    OF_LOAD,
    WORKERS,
    Answering,
    Ask,
    Client,
    Load,
    Parts,
    served,
    wait_for_workers,
)  # fmt: skip

SAME = Settings(threads=1, operators="plain")
"""Of both servers' archives: nothing is chosen by measuring, and each worker has one thread."""

OTHER = "Ray Serve"
SERVERS = ("TorchServe", OTHER)


def measure(options: Options) -> Tables:
    """Return the two tables."""
    tables: Tables = {"ray_serve": [], "ray_serve-around": []}
    for ask in OF_LOAD[1:] if options.tiny else OF_LOAD:
        if not options.wants(ask.name):
            continue
        for workers in WORKERS[:1] if options.tiny else WORKERS:
            with tempfile.TemporaryDirectory() as folder, both(Path(folder), ask.archive, workers) as servers:
                if workers == 1:
                    tables["ray_serve-around"].append(around(servers, ask, options))
                tables["ray_serve"] += load(servers, ask, workers, options)
    return tables


@contextmanager
def both(place: Path, archive: str, workers: int) -> Iterator[tuple[Answering, Answering]]:
    """Serve an archive by TorchServe and by Ray Serve."""
    order = Order(DEMOS[archive].model, None, None, SAME)
    with (
        served(place, {archive: order}, workers) as torchserve,
        serving([place / "model_store" / f"{archive}.mar"], cpus=1, replicas=workers) as ray,
    ):
        wait_for_workers(torchserve, archive, workers)
        yield torchserve, ray


def around(servers: tuple[Answering, Answering], ask: Ask, options: Options) -> Row:
    """Return what each server puts around a request."""
    row: Row = {"request": ask.name}
    clients = {name: Client(server) for name, server in zip(SERVERS, servers, strict=True)}
    warm, times = 2, 2 if options.tiny else 6 * options.rounds
    taken: dict[str, list[Parts]] = {name: [] for name in SERVERS}
    for turn in range(warm + times):
        for name, client in clients.items():
            parts = client.parts(ask)
            if turn >= warm:
                taken[name].append(parts)
    for name, seconds in taken.items():
        clients[name].close()
        row[f"{name}: around, ms"] = spread([1000 * (one.whole - one.integral) for one in seconds])
        row[f"{name}: handler, ms"] = spread([1000 * (one.ours - one.integral) for one in seconds])
    print(row, flush=True)
    return row


def load(servers: tuple[Answering, Answering], ask: Ask, workers: int, options: Options) -> list[Row]:
    """Return throughput and latency of both for numbers of clients."""
    rows: list[Row] = []
    for clients in (1, 2) if options.tiny else CLIENTS:
        asks = [ask] * (3 if options.tiny else max(20, 4 * clients))
        with closing(Load(servers[0], asks, clients)) as torchserve, closing(Load(servers[1], asks, clients)) as ray:
            _, slower = alternate(torchserve, {OTHER: ray}, options.rounds, options.device, warm=False)
        row: Row = {"request": ask.name, "workers": workers, "clients": clients}
        for name, sent in zip(SERVERS, (torchserve, ray), strict=True):
            row |= {f"{name}: {title}": value for title, value in sent.figures().items()}
        row["Ray Serve / TorchServe"] = spread([1 / ratio for ratio in slower[OTHER]])
        rows.append(row)
        print(row, flush=True)
    return rows
