"""Archiving that is interrupted, has no room, or is started twice at once leaves the old archive or a whole new one."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from intgrads.archives import archiver
from intgrads.archives.archiver import make_archive
from intgrads.archives.names import MANIFEST
from intgrads.networks.family import Order
from intgrads.settings import Settings
from shared.archives import TINY
from shared.places import HANDLER

OLD = b"the archive that was there before"

PROGRAM = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from intgrads.archives import archive, archiver
store, *arguments = sys.argv[1:]
print("go", flush=True)
sys.exit(archiver.main(arguments, Path(store)))
"""
"""``archive.sh`` with a store of its own; a process that is started in the background would not hear Ctrl-C."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "intgrads.mar").write_bytes(OLD)
    return tmp_path / "store"


def arguments(tiny: Path) -> list[str]:
    return [f"timm:{TINY}", "--weights", str(tiny / "w.pth"), "--labels", str(tiny / "labels.txt")]


def assert_untouched(store: Path) -> None:
    """Assert that the old archive is there, and nothing else."""
    assert [path.name for path in store.iterdir()] == ["intgrads.mar"]
    assert (store / "intgrads.mar").read_bytes() == OLD


@pytest.mark.parametrize("seconds", [0.1, 1.5])
def test_ctrl_c(seconds: float, tiny: Path, store: Path) -> None:
    """As the weights are read, and as they are packed."""
    program = [sys.executable, "-c", PROGRAM, str(store), *arguments(tiny)]
    running = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(HANDLER)}
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "go\n"
    try:
        running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)
        if running.returncode == 130:
            assert said.endswith("archive.sh: interrupted; no archive was written\n")
            assert "Traceback" not in said
            assert_untouched(store)
            return
    # It was done before it heard.
    assert zipfile.is_zipfile(store / "intgrads.mar")
    assert len(list(store.iterdir())) == 1


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def half_copied(source: Path, target: Path, **_: Any) -> None:
    Path(target).write_bytes(Path(source).read_bytes()[:1000])
    if Path(target).suffix == ".mar":
        full()


@pytest.mark.parametrize("broken", [(shutil, "copyfile", half_copied), (shutil, "copytree", full)])
def test_a_full_disk(
    broken: tuple[Any, str, Callable[..., None]],
    tiny: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(*broken)
    assert archiver.main(arguments(tiny), store) == 1
    assert "No space left" in capsys.readouterr().err
    assert_untouched(store)


MOST = 1_000_000


def test_no_room_for_a_file(tiny: Path, store: Path) -> None:
    """The system refuses to write files of more than some bytes, to us and to torch-model-archiver alike."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(store), *arguments(tiny)],
        env={"PYTHONPATH": str(HANDLER), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MOST, MOST)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("archive.sh: ")
    assert_untouched(store)


def test_two_at_once(tiny: Path, store: Path) -> None:
    """One of them stays, whole."""

    def make(steps: int) -> Path:
        order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings(n_steps=steps))
        return make_archive(order, "intgrads", store=store)

    with ThreadPoolExecutor(3) as pool:
        (path,) = set(pool.map(make, (5, 6, 7)))
    assert [one.name for one in store.iterdir()] == ["intgrads.mar"]
    with zipfile.ZipFile(path) as mar:
        assert mar.testzip() is None
        assert json.loads(mar.read(MANIFEST))["settings"]["n_steps"] in (5, 6, 7)


@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_ctrl_c_reaches_the_command_and_its_bounded_process(seconds: float, tiny: Path, tmp_path: Path) -> None:
    """A terminal's Ctrl-C goes to both."""
    package = tmp_path / "elsewhere"  # so that the store is not the repository's
    shutil.copytree(HANDLER / "intgrads", package / "intgrads", ignore=shutil.ignore_patterns("__pycache__"))
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from intgrads.archives import bounded; print('go', flush=True); raise SystemExit(bounded.main())"
    running = subprocess.Popen(
        [sys.executable, "-c", program, *arguments(tiny)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
        env={"PYTHONPATH": str(package), "PATH": os.defpath},
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "go\n"
    try:
        running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=120)
        if running.returncode != 0:
            assert running.returncode == 130
            assert said.endswith("archive.sh: interrupted; no archive was written\n")
            assert "Traceback" not in said
            assert not list(tmp_path.rglob("*.mar"))
