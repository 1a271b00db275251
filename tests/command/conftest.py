"""A small archive, and ``intgrads serve`` that serves it while the tests of the command run."""

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.places import HERE
from intgrads.settings import Settings
from shared.archives import TINY
from shared.commands import five_ports, started, wait_for


@pytest.fixture(scope="session")
def archive(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of a small network; tests leave it as it is."""
    settings = Settings.model_validate({"input_size": "64,64", "n_steps": 8, "threads": 1, "operators": "plain"})
    order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], settings)
    return make_archive(order, "small", store=tmp_path_factory.mktemp("command") / "model_store")


@dataclass
class Served:
    """What ``intgrads serve --json`` says of itself, and all that it has said."""

    ready: dict[str, Any]
    output: Path

    @property
    def url(self) -> str:
        url: str = self.ready["url"]
        return url

    def of(self, id: str) -> list[dict[str, Any]]:
        """Return what it said of a request."""
        lines = [json.loads(line) for line in self.output.read_text().split("\n")[:-1]]
        return [line for line in lines if line.get("id") == id]


@pytest.fixture(scope="session")
def served(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve it by the command, with two workers."""
    port = five_ports()
    folder = tmp_path_factory.mktemp("served")
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        running = started("serve", archive, "--port", str(port), "--workers", "2", "--json", stdout=out, stderr=err)
        try:
            wait_for(lambda: running.poll() is not None or (folder / "out").read_text().endswith("\n"))
            assert running.poll() is None, (folder / "err").read_text()
            yield Served(json.loads((folder / "out").read_text().splitlines()[0]), folder / "out")
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(120)
            shutil.rmtree(HERE / ".run" / f"serve-{port}", ignore_errors=True)
