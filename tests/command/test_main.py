"""The command line itself: its help, version, completion and exit codes, and the archiver behind ``archive``."""

import re
from pathlib import Path

import intgrads
import pytest
from intgrads.archives import bounded
from intgrads.command.main import app
from shared.commands import intgrads as run
from typer.testing import CliRunner

COMMANDS = ("serve", "archive", "attribute", "bulk", "show", "app", "doctor")


def test_the_help_lists_the_commands_and_the_exit_codes() -> None:
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"})
    assert said.exit_code == 0
    assert re.findall(r"^│ (\w+) ", said.stdout, re.MULTILINE)[-len(COMMANDS) :] == list(COMMANDS)
    assert "0 done, 1 failed" in said.stdout


def test_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"{intgrads.__version__}\n")


@pytest.mark.parametrize("arguments", [["nothing"], ["--nothing"], ["serve", "--nothing"], ["doctor", "a"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_typers(shell: str) -> None:
    said = CliRunner().invoke(app, [], prog_name="intgrads", env={"_INTGRADS_COMPLETE": f"source_{shell}"})
    assert said.exit_code == 0
    assert "_INTGRADS_COMPLETE" in said.stdout


def test_archive_is_the_archiver(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        given.append(arguments)
        return 7

    monkeypatch.setattr(bounded, "main", main)
    arguments = ["timm:resnet18", "--weights", "w.pth", "--set", "n_steps=5", "--name=small"]
    said = CliRunner().invoke(app, ["archive", *arguments])
    assert said.exit_code == 7
    assert given == [arguments]


def test_archive_has_the_archivers_help(tmp_path: Path) -> None:
    done = run("archive", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--tensormask-config FILE" in done.stdout
    assert not list(tmp_path.iterdir())
