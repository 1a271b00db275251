"""Running the command ``intgrads`` in a process of its own, and what stands for a server that it asks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, Literal

import psutil

from shared.places import HANDLER

SECONDS = 400
"""A bound for waiting, many times what is needed."""

PROGRAM = [sys.executable, "-m", "intgrads.command.main"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HANDLER), "COLUMNS": "300", "OMP_WAIT_POLICY": "PASSIVE"}


def intgrads(*arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    with running(*arguments, **how) as process:
        out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(*arguments: str | Path, **how: Any) -> subprocess.Popen[str]:
    """Start the command, in a group of its own, as a terminal does."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    how = {"env": ENVIRONMENT, "start_new_session": True, **pipes, **how}
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], text=True, **how)


@contextmanager
def running(*arguments: str | Path, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the command, and end it where a test fails before it has."""
    with started(*arguments, **how) as process:
        try:
            yield process
        finally:
            process.terminate()


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Send what a terminal sends at Ctrl-C; return the exit code, and what was said since."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def read_until(running: subprocess.Popen[str], words: str, stream: Literal["stdout", "stderr"] = "stdout") -> str:
    """Return what a process says up to the line with some words; one that does not come to say them is ended."""
    said = ""
    patience = threading.Timer(SECONDS, running.terminate)
    patience.start()
    try:
        pipe: IO[str] = getattr(running, stream)
        for line in pipe:
            said += line
            if words in line:
                return said
        raise AssertionError(f"no {words!r} in {said!r}")
    finally:
        patience.cancel()


def wait_for(happened: Callable[[], object]) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def five_ports() -> int:
    """Return the first of five ports in a row that nothing listens on."""
    for first in range(20000, 60000, 7):
        with ExitStack() as bound:
            try:
                for port in range(first, first + 5):
                    bound.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("no ports are free")


def processes_of(place: Path) -> list[psutil.Process]:
    """Return the processes that name a folder in their command lines."""
    return [one for one in psutil.process_iter(["cmdline"]) if str(place) in " ".join(one.info["cmdline"] or [])]


@dataclass
class Server:
    """A server of a few replies: a status and a body each, the last again and again; None is none at all."""

    replies: list[tuple[int, bytes] | None]
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def replying(*replies: tuple[int, bytes] | None) -> Iterator[Server]:
    """Run such a server; ``/ping`` is always answered."""
    server = Server(list(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200, b"{}")

        def do_POST(self) -> None:
            server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.replies.pop(0) if len(server.replies) > 1 else server.replies[0]
            if reply is None:
                server.over.wait(120)
            else:
                self.reply(*reply)

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        running = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        running.start()
        try:
            yield server
        finally:
            server.over.set()
            http.shutdown()
            running.join()
