"""``intgrads serve --on ray``: one command to an answer and one Ctrl-C to the end, and a file for a cluster."""

import json
from pathlib import Path

import pytest
import requests
import yaml
from intgrads.command.main import app
from intgrads.serving.served import Served, configuration
from intgrads.serving.torchserve import free_ports
from shared.commands import interrupted, intgrads, read_until, running
from shared.toys import encoded, pixels
from typer.testing import CliRunner

pytestmark = pytest.mark.server


def test_from_the_command_to_an_answer_and_to_ctrl_c(archive: Path) -> None:
    port = free_ports(1)[0]
    with running("serve", archive, "--on", "ray", "--port", str(port), "--json") as process:
        ready = json.loads(read_until(process, '"event": "ready"').splitlines()[-1])
        assert ready == {"event": "ready", "url": f"http://127.0.0.1:{port}", "name": "small"}
        url = f"{ready['url']}/predictions/small?format=json"
        reply = requests.post(url, files={"data": encoded(pixels(64, 64))}, timeout=120)
        assert reply.json()["n_steps"] == 8
        assert requests.get(f"{ready['url']}/ready", timeout=60).json() == {"small": "ready"}
        code, out, _ = interrupted(process)
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {"event": "stopped"}


def test_an_archive_that_is_none_is_told(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mar"
    damaged.write_bytes(b"PK no zip")
    done = intgrads("serve", damaged, "--on", "ray", "--port", str(free_ports(1)[0]))
    assert done.returncode == 1
    assert "damaged.mar is no archive" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_for_a_cluster(archive: Path, tmp_path: Path) -> None:
    place = tmp_path / "serve.yaml"
    options = ["--workers", "2", "--most-workers", "4", "--host", "0.0.0.0", "--port", "8123", "--config", str(place)]
    done = CliRunner().invoke(app, ["serve", str(archive), "--on", "ray", *options])
    assert done.exit_code == 0
    assert "serve deploy" in done.stdout
    held = yaml.safe_load(place.read_text())
    assert held == configuration([Served(archive=str(archive), replicas=2, most_replicas=4)], "0.0.0.0", 8123)
    assert [one["route_prefix"] for one in held["applications"]] == ["/predictions/small", "/"]


@pytest.mark.parametrize("option", [["--most-workers", "2"], ["--address", "auto"], ["--config", "serve.yaml"]])
def test_what_is_rays_is_refused_without_it(archive: Path, option: list[str]) -> None:
    done = CliRunner().invoke(app, ["serve", str(archive), *option])
    assert done.exit_code == 2
