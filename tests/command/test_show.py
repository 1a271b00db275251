"""``intgrads show``: an answer of any format becomes a page, or is one; what is no answer is told."""

import gzip
import io
import json
import pickle
import webbrowser
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from intgrads.client import Client
from intgrads.command.main import app
from safetensors.numpy import save
from shared.texts import bert_service
from shared.toys import encoded, json_call, pixels
from typer.testing import CliRunner
from typer.testing import Result as Said

FORMATS = ("gzip", "safetensors", "npz", "json")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was opened in a browser that is not there."""
    pages: list[str] = []

    def browse(url: str) -> bool:
        pages.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    return pages


def run(*arguments: str | Path) -> Said:
    return CliRunner().invoke(app, ["show", *map(str, arguments)], env={"COLUMNS": "300"})


def of_picture(transport: httpx.MockTransport, folder: Path, format: str, **options: Any) -> Path:
    with Client(transport=transport) as client:
        raw = client.ask(encoded(pixels(13, 17)), format=format, **{"n_steps": 6, **options})
    (folder / "answer").write_bytes(raw)
    return folder / "answer"


@pytest.mark.parametrize("format", FORMATS)
def test_a_pictures_answer_becomes_a_page(format: str, pictures: httpx.MockTransport, tmp_path: Path) -> None:
    fields = {"fields": ["integrated_grads"]} if format == "json" else {}
    said = run(of_picture(pictures, tmp_path, format, **fields), "--out", tmp_path / "page.html")
    assert (said.exit_code, said.stdout) == (0, f"{tmp_path / 'page.html'}\n")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "error of the map" in page
    assert "<img" in page


@pytest.mark.parametrize("format", FORMATS)
def test_a_texts_answer_becomes_a_page(format: str, texts: httpx.MockTransport, tmp_path: Path) -> None:
    with Client(transport=texts) as client:
        (tmp_path / "answer").write_bytes(client.ask(text="The camera isn't good.", n_steps=6, format=format))
    assert run(tmp_path / "answer", "--out", tmp_path / "page.html").exit_code == 0
    assert "<img" in (tmp_path / "page.html").read_text()


def test_figures_alone_become_a_page_without_a_drawing(pictures: httpx.MockTransport, tmp_path: Path) -> None:
    assert run(of_picture(pictures, tmp_path, "json"), "--out", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "error of the map" in page
    assert "<img" not in page


def test_a_page_is_opened(pictures: httpx.MockTransport, opened: list[str], tmp_path: Path) -> None:
    said = run(of_picture(pictures, tmp_path, "npz"), "--json")
    told = json.loads(said.stdout)
    place = Path(told["page"])
    assert told == {"page": str(place), "opened": True}
    assert opened == [place.as_uri()]
    assert place.read_text().startswith("<!DOCTYPE html>")
    place.unlink()
    place.parent.rmdir()


@pytest.mark.parametrize("format", ["html", "png"])
def test_what_can_be_seen_is_opened_as_it_is(
    format: str, pictures: httpx.MockTransport, opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = of_picture(pictures, tmp_path, format)
    monkeypatch.chdir(tmp_path)
    said = run("answer")
    assert (said.exit_code, said.stdout) == (0, f"{answer}\n")
    assert opened == [answer.as_uri()]
    assert "leave --out away" in run(answer, "--out", tmp_path / "page.html").stderr


def test_without_a_browser_the_place_is_told(
    pictures: httpx.MockTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    answer = of_picture(pictures, tmp_path, "png")
    assert run(answer).stdout == f"no browser was found here; open {answer}\n"


# ---------------------------------------------------------------------- what is no answer
def npz(**arrays: Any) -> bytes:
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


def packed(content: Any) -> bytes:
    written = io.BytesIO()
    torch.save(content, written)
    return gzip.compress(written.getvalue())


def zipped(name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as whole:
        whole.writestr(name, content)
    return written.getvalue()


class Evil:
    """Its pickle runs code, where that is not refused."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('executed')",)


NONE = {
    "nothing": b"",
    "a text": b"It is good.",
    "bytes": bytes(range(256)),
    "a jpeg": encoded(pixels(), "JPEG"),
    "gzip of nothing": b"\x1f\x8b\x00",
    "gzip that is cut off": gzip.compress(b"a" * 1000)[:-20],
    "gzip that is damaged": gzip.compress(bytes(1000))[:10] + b"\xff" * 30,
    "gzip of a text": gzip.compress(b"a text"),
    "gzip of a list": packed([1, 2]),
    "gzip of a checkpoint": packed({"weight": torch.zeros(2)}),
    "gzip of code": gzip.compress(pickle.dumps(Evil())),
    "gzip of strange figures": packed({"info": {"prediction": 3}}),
    "zip of nothing": b"PK\x03\x04",
    "zip of a text": zipped("a.txt", b"a"),
    "npz of something": npz(a=np.zeros(2)),
    "npz of a list": npz(info=np.array("[1]")),
    "npz of no json": npz(info=np.array("{")),
    "npz of objects": npz(info=np.array([Evil()], dtype=object)),
    "npz that is damaged": npz(info=np.array("{}"))[:-30],
    "json that is cut off": b'{"model": "a"',
    "json without end": b'{"a":' * 100_000,
    "json of something": b'{"a": 1}',
    "json of strange figures": b'{"model": "a", "target_label": "b", "integrated_grads": "c"}',
    "json of an error": b'{"code": 400, "message": "send less"}',
    "safetensors of something": save({"a": np.zeros(2)}),
    "safetensors that is cut off": save({"a": np.zeros(2)})[:-1],
}


@pytest.mark.parametrize("what", NONE)
def test_what_is_no_answer_is_told(what: str, opened: list[str], tmp_path: Path) -> None:
    answer = tmp_path / "[b]answer"
    answer.write_bytes(NONE[what])
    said = run(answer)
    assert said.exit_code == 1, said.stdout
    assert said.stderr.startswith(f"intgrads: {answer}: it is no answer"), said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert opened == []
    if "error" in what:
        assert "send less" in said.stderr


@pytest.mark.parametrize("format", FORMATS)
def test_answers_about_several_texts_are_shown_by_the_server(format: str, tmp_path: Path) -> None:
    reply = bert_service().answer([json_call(sequence=["good", "bad"], n_steps=4, format=format)])[0]
    (tmp_path / "answer").write_bytes(b"".join(reply.body))
    said = run(tmp_path / "answer")
    assert said.exit_code == 1
    assert "several texts; ask for `format` html" in said.stderr


def test_a_page_that_cannot_be_written_is_told(pictures: httpx.MockTransport, tmp_path: Path) -> None:
    said = run(of_picture(pictures, tmp_path, "npz"), "--out", tmp_path / "none" / "page.html")
    assert said.exit_code == 1
    assert "No such file or directory" in said.stderr


@pytest.mark.parametrize("arguments", [[], ["none"], ["{folder}"], ["{folder}/a", "--out", "{folder}"]])
def test_what_was_typed_wrongly_is_told(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert run(*(word.format(folder=tmp_path) for word in arguments)).exit_code == 2
