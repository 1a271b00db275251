"""The README's lines of Python do what it says."""

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from shared.pages import ROOT, blocks
from shared.toys import call, encoded, pixels, small_network, small_service

PYTHON = blocks(ROOT / "README.md", "python")


def test_the_lines_that_open_an_answer_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = small_service().answer([call(data=bytearray(encoded(pixels())))])[0]
    (tmp_path / "cat.gzip").write_bytes(b"".join(answer.body))
    assert gzip.decompress((tmp_path / "cat.gzip").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(PYTHON[0].strip().splitlines()) <= 6
    exec(PYTHON[0], {})


def test_the_lines_for_a_notebook_run() -> None:
    x = torch.rand(1, 3, 8, 10)
    places: dict[str, Any] = {"network": small_network(classes=4), "x": x, "baseline": torch.zeros_like(x)}
    exec(PYTHON[1], places)
    assert places["result"].converged.all()
