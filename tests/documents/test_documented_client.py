"""The lines of Python that ask a server are run, against the server of the tests."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from intgrads.serving.torchserve import TorchServe
from shared.pages import ROOT, blocks


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page: Path, server: TorchServe, words: str = "") -> dict[str, Any]:
    """Run a page's blocks in turn, or those with some words, in one notebook as it were; return its variables."""
    places: dict[str, Any] = {}
    for block in blocks(page, "python"):
        if words in block:
            exec(block.replace("http://127.0.0.1:8080", server.url), places)
    return places


@pytest.mark.server
def test_the_pages_lines_do_what_it_says(
    torchserve: TorchServe, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = run(ROOT / "docs" / "client.md", torchserve)
    said = capsys.readouterr().out
    assert "(1, 3, 224, 224)" in said
    assert "tabby, tabby cat" in said
    assert "'not': " in said
    assert said.count("<Result of demo-image: ") == 4
    assert "400 BadRequest target_class unknown label" in said
    assert places["page"].startswith(b"<!DOCTYPE html")
    assert {path.name for path in here.iterdir()} == {"examples", "cat.safetensors", "tabby.html", "cat.pdf"}
    assert asyncio.iscoroutinefunction(places["main"])


@pytest.mark.server
def test_the_readmes_lines_do_what_it_says(torchserve: TorchServe, here: Path) -> None:
    result = run(ROOT / "README.md", torchserve, "intgrads.client")["result"]
    assert result.attribution_error <= 0.02
    assert (here / "tabby.html").is_file()
