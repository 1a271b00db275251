"""Ray Serve in a process of its own, as a server has it, and what it needs to stop in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from intgrads.serving.torchserve import free_ports

from shared.places import HANDLER

PROGRAM = """
import signal, sys
from intgrads.serving.ray import run, stop
from intgrads.serving.served import Served
port, cpus, replicas, *archives = sys.argv[1:]
served = [Served(archive=archive, cpus=float(cpus), replicas=int(replicas)) for archive in archives]
run(served, host="127.0.0.1", port=int(port))
print("up", flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
stop()
"""


@dataclass(frozen=True)
class RayServe:
    """Where it answers, and the process that started it."""

    url: str
    pid: int
    folder: Path

    def logged(self) -> str:
        """Return what the replicas have logged."""
        return "".join(file.read_text() for file in self.folder.rglob("replica_*.log"))

    def replicas(self, name: str) -> set[int]:
        """Return the process ids of an archive's replicas."""
        processes = psutil.Process(self.pid).children(recursive=True)
        return {one.pid for one in processes if _is_replica(one, name)}


def _is_replica(process: psutil.Process, name: str) -> bool:
    try:
        return f"ServeReplica:{name}:" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@contextmanager
def serving(archives: Sequence[Path], cpus: float = 0.25, replicas: int = 1) -> Iterator[RayServe]:
    """Serve archives by Ray Serve, each by some replicas that have so many cores each."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="r-") as own:
        environment = os.environ | {"PYTHONPATH": str(HANDLER), "TMPDIR": own, "RAY_TMPDIR": own}
        command = [sys.executable, "-c", PROGRAM, str(port), str(cpus), str(replicas), *map(str, archives)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert any(line.strip() == "up" for line in process.stdout), "Ray Serve ended before it was up"
                yield RayServe(f"http://127.0.0.1:{port}", process.pid, Path(own))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(120)
