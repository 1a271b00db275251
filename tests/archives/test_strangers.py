"""Files of strangers: nothing in them is run, and all are refused within bounds of memory and time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("detectron2")

from intgrads.archives import bounded
from intgrads.errors import RequestError
from intgrads.texts.sentences import tokenise
from shared.places import HANDLER, ROOT, SCRIPTS, TRAINING
from shared.strangers import CHECKPOINTS, ENDED, HARMLESS, HURT, splitting
from shared.texts import plain_tokenizer
from tokenizers import Tokenizer

GIB = 2**30


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what came of each."""
    paths = os.pathsep.join(map(str, (HANDLER, ROOT / "tests", SCRIPTS, TRAINING)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "shared.strangers"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path_factory.mktemp("strangers"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("name", HURT)
def test_a_file_that_is_made_to_hurt(attempts: dict[str, dict[str, Any]], name: str) -> None:
    found = attempts[name]
    assert not found["ran"]
    assert found["mebibytes"] < 5 * 1024
    if name in HARMLESS:
        assert found["status"] == 0, found
        return
    assert found["archives"] == []
    refused = found["status"] == 1 and found["said"].count("archive.sh: ") == 1
    ended = found["status"] in (-signal.SIGXCPU, -signal.SIGABRT)
    assert refused or (name in ENDED and ended), found
    assert "Traceback" not in found["said"]
    assert "fetch" not in found["said"]
    assert "download" not in found["said"]


def test_the_command_ends_what_takes_too_long_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 8)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("PYTHONPATH", str(HANDLER))
    (tmp_path / "files").mkdir()
    assert bounded.main(CHECKPOINTS["a .pkl that laughs"](tmp_path / "files")) == 1
    message = capsys.readouterr().err
    assert "not done after 8 s of a processor's time" in message
    assert "look at where it comes from" in message
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_larger_files_may_take_more_but_only_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "w.safetensors").write_bytes(bytes(10**6))
    with (tmp_path / "hollow.pth").open("wb") as file:
        file.truncate(100 * GIB)
    arguments = [f"hf:{tmp_path / 'folder'}", "--weights", str(tmp_path / "hollow.pth"), "--name", "x"]
    assert sum(bounded.sizes(arguments)) == 10**6


def test_a_tokeniser_that_breaks_down_at_a_text_ends_no_worker() -> None:
    """What it raises is no Exception; nobody made its archive's maker try this very text."""
    content = json.loads(plain_tokenizer().backend_tokenizer.to_str())
    tokenizer = Tokenizer.from_str(json.dumps(content | {"pre_tokenizer": splitting("(x+)+$")}))
    with pytest.raises(RequestError, match="breaks down at this text"):
        tokenise("x" * 2000 + "!", tokenizer, None, "sequence")
    assert tokenise("good", tokenizer, None, "sequence").ids.size
