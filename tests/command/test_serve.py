"""``intgrads serve``: ready when it can answer, its lines tell what matters, and it ends by Ctrl-C wherever it is."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from intgrads.archives import bounded
from intgrads.archives.names import MANIFEST
from intgrads.command import archived, serve
from intgrads.command.archived import Made
from intgrads.command.main import app
from intgrads.places import CONFIG, HANDLER, HERE, METRICS, PACKAGE
from intgrads.serving.torchserve import PORTS, ServerError, TorchServe
from shared.archives import TINY, rewrite
from shared.commands import (
    ENVIRONMENT,
    SECONDS,
    five_ports,
    interrupted,
    intgrads,
    processes_of,
    read_until,
    running,
    wait_for,
)
from shared.places import EXAMPLES
from typer.testing import CliRunner

CAT = (EXAMPLES / "cat.jpg").read_bytes()


@pytest.fixture
def port() -> Iterator[int]:
    first = five_ports()
    yield first
    shutil.rmtree(HERE / ".run" / f"serve-{first}", ignore_errors=True)


def ask(url: str, picture: bytes) -> httpx.Response:
    asked = f"{url}/predictions/small"
    return httpx.post(asked, content=picture, headers={"Content-Type": "image/jpeg"}, timeout=60)


def assert_gone(port: int) -> None:
    assert processes_of(HERE / ".run" / f"serve-{port}") == []
    assert not Path(f"/tmp/intgrads-{os.getuid()}-{port}").exists()


# ---------------------------------------------------------------------- a server
@pytest.mark.server
def test_a_server_from_its_start_to_ctrl_c(archive: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    with running("serve", archive, "--port", str(port), "--workers", "2") as serving:
        said = read_until(serving, "logs are in")
        assert said.startswith(f"small is ready: {url}/predictions/small\n")
        server = TorchServe(HERE / ".run" / f"serve-{port}", range(port, port + len(PORTS)))
        assert [worker["status"] for worker in server.workers("small")] == ["READY", "READY"]
        assert ask(url, CAT).status_code == 200
        assert "answered: " in read_until(serving, "MB of gzip")
        assert ask(url, CAT[:99]).status_code == 400
        read_until(serving, "DamagedPicture: ")
        assert interrupted(serving) == (
            0,
            "stopped after 2 requests\n",
            f"starting TorchServe on {url} (Ctrl-C stops it)\n",
        )
    assert_gone(port)


@pytest.mark.server
def test_its_lines_are_json_where_they_are_asked_for(served: Any) -> None:
    assert served.ready["event"] == "ready"
    assert served.ready["name"] == "small"
    assert Path(served.ready["logs"], "model_log.log").is_file()
    id = ask(served.url, CAT).headers["x-request-id"]
    wait_for(lambda: served.of(id))
    (told,) = served.of(id)
    assert told["event"] == "request"
    assert told["outcome"] == "answered"
    assert told["evaluations"] >= 8


@pytest.mark.server
def test_ctrl_c_as_it_starts(archive: Path, port: int) -> None:
    with running("serve", archive, "--port", str(port)) as serving:
        read_until(serving, "starting TorchServe", "stderr")
        wait_for((HERE / ".run" / f"serve-{port}" / "server.json").is_file)
        assert interrupted(serving) == (130, "stopped before it was ready\n", "")
    assert_gone(port)


@pytest.mark.server
def test_sigterm_stops_it_as_well(archive: Path, port: int) -> None:
    with running("serve", archive, "--port", str(port), "--json") as serving:
        read_until(serving, "starting TorchServe", "stderr")
        serving.terminate()
        out, _ = serving.communicate(timeout=SECONDS)
    assert serving.returncode == 130
    assert [json.loads(line) for line in out.splitlines()] == [{"event": "stopped", "requests": 0}]
    assert_gone(port)


@pytest.mark.server
def test_an_archive_that_cannot_be_loaded_is_not_called_ready(archive: Path, port: int, tmp_path: Path) -> None:
    """Nor one that was renamed."""
    damaged = Path(shutil.copy(archive, tmp_path / "damaged.mar"))
    rewrite(damaged, MANIFEST, b'"family": "timm"', b'"family": "what"')
    done = intgrads("serve", damaged, "--port", str(port))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "damaged cannot answer: " in done.stderr
    assert "what" in done.stderr
    assert "Traceback" not in done.stderr
    assert_gone(port)


@pytest.mark.server
def test_an_archive_that_is_cut_short_is_told_at_once(archive: Path, port: int, tmp_path: Path) -> None:
    """TorchServe goes on without it, and a worker of it would be waited for in vain."""
    damaged = tmp_path / "damaged.mar"
    damaged.write_bytes(archive.read_bytes()[:1000])
    done = intgrads("serve", damaged, "--port", str(port))
    assert done.returncode == 1
    assert "damaged.mar is no archive, or a damaged one" in done.stderr
    assert "Traceback" not in done.stderr
    assert_gone(port)


# ---------------------------------------------------------------------- what keeps it from starting
def test_a_port_that_is_taken_is_named(archive: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port + 2)):
        done = intgrads("serve", archive, "--port", str(port))
    assert done.returncode == 1
    assert f"intgrads: port {port + 2} (metrics_address) is taken" in done.stderr
    assert "--port" in done.stderr
    assert_gone(port)


def test_an_archive_of_an_odd_name_is_refused(archive: Path, tmp_path: Path, port: int) -> None:
    """TorchServe takes the name into its configuration and its URLs."""
    shutil.copy(archive, tmp_path / "a=b.mar")
    done = intgrads("serve", tmp_path / "a=b.mar", "--port", str(port))
    assert done.returncode == 1
    assert "a=b.mar cannot be served: name it by letters" in done.stderr


def test_an_archive_that_is_missing_is_named(tmp_path: Path, port: int) -> None:
    done = intgrads("serve", tmp_path / "nothing.mar", "--port", str(port))
    assert done.returncode == 1
    assert "there is no nothing.mar in" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_others_reach_it_where_that_is_asked_for_and_requests_alone(
    archive: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = []

    def not_started(*arguments: Any) -> None:
        properties.append(arguments[-1])
        raise ServerError

    monkeypatch.setattr(serve, "TorchServe", not_started)
    CliRunner().invoke(app, ["serve", str(archive), "--port", "9080", *(["--host", host] if host == "0.0.0.0" else [])])
    assert properties == [{"inference_address": f"http://{host}:9080"}]


@pytest.mark.parametrize("host", ["", "here", "::", "0.0.0.0\nenable_model_api=true"])
def test_another_host_is_wrong_usage(archive: Path, host: str) -> None:
    assert CliRunner().invoke(app, ["serve", str(archive), "--host", host]).exit_code == 2


@pytest.mark.parametrize("first", ["0", "65532", "x"])
def test_a_port_that_does_not_exist_is_wrong_usage(first: str) -> None:
    said = CliRunner().invoke(app, ["serve", "--port", first])
    assert said.exit_code == 2
    assert "--port" in said.stderr


def test_an_archives_file_takes_no_settings(archive: Path) -> None:
    said = CliRunner().invoke(app, ["serve", str(archive), "--set", "n_steps=5"], env={"COLUMNS": "300"})
    assert said.exit_code == 2
    assert "leave these options out" in said.stderr


# ---------------------------------------------------------------------- archives that are made first
@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, Any]:
    """Return how to run the package as it is installed from a wheel: its archives are made where it is run."""
    package = tmp_path / "site"
    shutil.copytree(PACKAGE, package / "intgrads", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (HANDLER, CONFIG, METRICS):
        shutil.copy(path, package / "intgrads")
    (tmp_path / "here").mkdir()
    return {"cwd": tmp_path / "here", "env": {**ENVIRONMENT, "PYTHONPATH": str(package)}}


def test_ctrl_c_as_the_archive_is_made(elsewhere: dict[str, Any], tiny: Path) -> None:
    options = ["--weights", str(tiny / "w.pth"), "--labels", str(tiny / "labels.txt")]
    with running("serve", f"timm:{TINY}", *options, **elsewhere) as serving:
        read_until(serving, "making model_store/intgrads.mar", "stderr")
        command = psutil.Process(serving.pid)
        # Once it is more than a bare Python, which would tell of Ctrl-C in its own way.
        wait_for(lambda: any(child.memory_info().rss > 60e6 for child in command.children()))
        assert interrupted(serving) == (130, "", "archive.sh: interrupted; no archive was written\n")
    assert not list(elsewhere["cwd"].rglob("*.mar"))


def test_weights_that_are_missing_are_told() -> None:
    done = intgrads("serve", f"timm:{TINY}", "--weights", "none.pth", "--name", "archive-that-is-never-made")
    assert done.returncode == 1
    assert "no such file: none.pth" in done.stderr
    assert "no archive could be made" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def made(archive: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what the archiver is called with, which does nothing, where the model store is the archive's."""
    calls: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        calls.append(arguments)
        return 0

    monkeypatch.setattr(bounded, "main", main)
    monkeypatch.setattr(archived, "MODEL_STORE", archive.parent)
    return calls


def test_a_current_archive_is_served_as_it_is(archive: Path, made: list[list[str]]) -> None:
    assert archived.archive_of(f"timm:{TINY}", "small", Made()) == archive
    assert archived.archive_of(str(archive), "other", Made()) == archive
    assert made == []


def test_one_is_made_where_there_is_none_and_where_something_is_said_of_it(
    archive: Path, made: list[list[str]]
) -> None:
    assert archived.archive_of("demo-text", "words", Made()) == archive.with_name("words.mar")
    assert archived.archive_of(f"timm:{TINY}", "small", Made(settings=["n_steps=5"])) == archive
    assert made == [["demo-text", "--name=words"], [f"timm:{TINY}", "--name=small", "--set=n_steps=5"]]


def test_one_is_made_anew_where_the_code_is_newer(made: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archived, "is_current", lambda _: False)
    archived.archive_of(f"timm:{TINY}", "small", Made())
    assert made == [[f"timm:{TINY}", "--name=small"]]


def test_an_archive_of_another_model_is_not_overwritten(made: list[list[str]]) -> None:
    said = CliRunner().invoke(app, ["serve", "demo-text", "--name", "small"], env={"COLUMNS": "300"})
    assert said.exit_code == 1
    assert f"holds timm:{TINY}, not demo-text; rename it, choose another --name" in said.stderr
    assert made == []
