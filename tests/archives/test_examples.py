"""`archive.sh --examples DIR`: what requests can start from is checked, stored as given, and found by a worker."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from intgrads.archives import archiver
from intgrads.archives import examples as examples_module
from intgrads.service import Service
from shared.archives import TINY
from shared.texts import saved, small_bert, small_bert_tokenizer
from shared.toys import encoded, json_call, pixels, told


def run(store: Path, *arguments: object) -> int:
    return archiver.main([str(a) for a in arguments], store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two pictures, with what a file manager may leave in it."""
    made = tmp_path / "examples"
    (made / "more").mkdir(parents=True)
    (made / ".DS_Store").write_bytes(b"\0\1")
    (made / "one.png").write_bytes(encoded(pixels(20, 30, 1)))
    (made / "two.jpg").write_bytes(encoded(pixels(30, 20, 2), "JPEG"))
    return made


@pytest.fixture
def refusal(tiny: Path, tmp_path: Path, capsys: Any) -> Callable[..., str]:
    """Return what makes an archive of a picture's network, which must fail, and says why it did."""

    def make(*options: object) -> str:
        store = tmp_path / "store"
        assert run(store, *network(tiny), *options) == 1
        assert not list(store.glob("*.mar"))
        return str(capsys.readouterr().err)

    return make


def network(tiny: Path) -> tuple[object, ...]:
    return f"timm:{TINY}", "--weights", tiny / "w.pth", "--labels", tiny / "labels.txt", "--name", "examples"


def test_pictures_go_from_the_folder_to_a_worker(tiny: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    store = tmp_path / "store"
    assert run(store, *network(tiny), "--examples", folder) == 0
    assert "2 examples" in capsys.readouterr().out
    with zipfile.ZipFile(store / "examples.mar") as mar:
        held = sorted(name for name in mar.namelist() if name.startswith("examples/") and not name.endswith("/"))
        assert held == ["examples/one.png", "examples/two.jpg"]
        assert mar.read("examples/one.png") == (folder / "one.png").read_bytes()
        mar.extractall(tmp_path / "mar")
    service = Service.load(tmp_path / "mar", torch.device("cpu"))
    asked = json_call(img_data=pixels(9, 9).tolist(), baseline="examples", n_steps=2, format="json")
    answer = told(service.answer([asked])[0])
    assert sorted(one["baseline"] for one in answer["baselines"]) == ["examples/one.png", "examples/two.jpg"]
    assert service.describe()["examples"] == 2


def test_texts_go_the_same_way(tmp_path: Path) -> None:
    made = tmp_path / "texts"
    made.mkdir()
    (made / "a.txt").write_text("the film is bad")
    store = tmp_path / "store"
    saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    assert run(store, f"hf:{tmp_path / 'bert'}", "--examples", made, "--name", "texts") == 0
    zipfile.ZipFile(store / "texts.mar").extractall(tmp_path / "mar")
    service = Service.load(tmp_path / "mar", torch.device("cpu"))
    asked = json_call(sequence="the camera is good", baseline="examples", n_steps=2, format="json")
    assert [one["baseline"] for one in told(service.answer([asked])[0])["baselines"]] == ["examples/a.txt"]


def _nothing(folder: Path) -> Path:
    return folder / "nowhere"


def _empty(folder: Path) -> Path:
    return folder / "more"


def _text(folder: Path) -> Path:
    (folder / "three.txt").write_text("hello")
    return folder


def _damaged(folder: Path) -> Path:
    (folder / "one.png").write_bytes(encoded(pixels(20, 30))[:-40])
    return folder


def _a_file(folder: Path) -> Path:
    return folder / "one.png"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_nothing, "no such folder"),
        (_a_file, "no such folder"),
        (_empty, "0 files"),
        (_text, "three.txt"),
        (_damaged, "damaged or cut short"),
    ],
)
def test_what_is_no_example_is_told_and_no_archive_is_made(
    spoil: Any, words: str, folder: Path, refusal: Callable[..., str]
) -> None:
    assert words in refusal("--examples", spoil(folder))


@pytest.mark.parametrize(("limit", "words"), [("MOST", "2 files"), ("MOST_BYTES", "MB")])
def test_too_many_or_too_large_ones_are_told(
    limit: str, words: str, folder: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples_module, limit, 1)
    assert words in refusal("--examples", folder)


def test_a_picture_larger_than_requests_may_send_is_told(folder: Path, refusal: Callable[..., str]) -> None:
    assert "more than the 500" in refusal("--examples", folder, "--set", "max_picture_pixels=500")


def test_an_empty_text_is_told(tmp_path: Path, capsys: Any) -> None:
    made = tmp_path / "texts"
    made.mkdir()
    (made / "a.txt").write_text(" \n")
    saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    assert run(tmp_path / "store", f"hf:{tmp_path / 'bert'}", "--examples", made) == 1
    assert "empty" in capsys.readouterr().err
