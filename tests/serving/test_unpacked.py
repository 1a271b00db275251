"""An archive's data is unpacked once, nothing of its code, and nothing outside of its folder."""

import os
import zipfile
from pathlib import Path

import pytest
from intgrads.serving.unpacked import unpacked


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def archive(folder: Path, **files: str) -> Path:
    place = folder / "small.mar"
    with zipfile.ZipFile(place, "w") as mar:
        mar.writestr("model-config.yaml", "batchSize: 3\n")
        for name, content in files.items():
            mar.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return place


def test_data_is_there_and_code_is_not(tmp_path: Path) -> None:
    place = archive(
        tmp_path, labels_dot_json="[]", handler_dot_py="1/0", intgrads__service_dot_py="1/0", examples__a="x"
    )
    directory, config = unpacked(place)
    assert config == {"batchSize": 3}
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert found == {"model-config.yaml", "labels.json", "examples/a", "unpacked.json"}


def test_it_is_done_once_and_again_where_the_archive_is_another(tmp_path: Path) -> None:
    first, _ = unpacked(archive(tmp_path, a="1"))
    (first / "a").write_text("mine")
    again, _ = unpacked(tmp_path / "small.mar")
    assert (again, (again / "a").read_text()) == (first, "mine")
    place = archive(tmp_path, a="22")
    other, _ = unpacked(place)
    assert other != first
    assert (other / "a").read_text() == "22"


def test_what_was_broken_off_is_done_again(tmp_path: Path) -> None:
    place = archive(tmp_path, a="1")
    directory, _ = unpacked(place)
    (directory / "unpacked.json").unlink()
    (directory / "a").unlink()
    assert (unpacked(place)[0] / "a").read_text() == "1"


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = archive(tmp_path)
    unpacked(place)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "intgrads-12345").mkdir()
    with pytest.raises(OSError, match="somebody else"):
        unpacked(place)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    place = archive(tmp_path)
    with zipfile.ZipFile(place, "a") as mar:
        mar.writestr(name, "x")
    with pytest.raises(ValueError, match="outside"):
        unpacked(place)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 broken", b"no zip at all"])
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "small.mar"
    place.write_bytes(content)
    with pytest.raises(ValueError, match=r"small\.mar is no archive"):
        unpacked(place)
