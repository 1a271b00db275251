"""What an archive's file says: of which model it is, and whether the code that is here made it."""

import os
import zipfile
from pathlib import Path

import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.serving.archives import digest_of_archive, is_current, model_of
from intgrads.settings import Settings
from shared.archives import TINY


@pytest.fixture
def archive(tiny: Path, tmp_path: Path) -> Path:
    order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings())
    return make_archive(order, "small", store=tmp_path / "model_store")


def test_an_archive_says_what_it_is_of(archive: Path) -> None:
    assert model_of(archive) == f"timm:{TINY}"
    assert is_current(archive)


def test_one_that_is_older_than_the_code_is_not_current(archive: Path) -> None:
    os.utime(archive, (1e9, 1e9))
    assert not is_current(archive)
    archive.unlink()
    assert not is_current(archive)


@pytest.mark.parametrize("content", [None, b"", b"PK", {"a": "b"}, {"intgrads.json": "{"}, {"intgrads.json": "[]"}])
def test_what_is_no_archive_says_nothing(content: bytes | dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with zipfile.ZipFile(path, "w") as mar:
            for name, text in content.items():
                mar.writestr(name, text)
    assert model_of(path) is None


def test_its_digest_is_that_of_its_data(archive: Path) -> None:
    before = digest_of_archive(archive)
    with zipfile.ZipFile(archive, "a") as mar:
        mar.writestr("more.py", "pass")
    assert digest_of_archive(archive) == before
    with zipfile.ZipFile(archive, "a") as mar:
        mar.writestr("more.json", "1")
    assert digest_of_archive(archive) != before


@pytest.mark.parametrize(("content", "told"), [(None, "there is no a.mar in"), (b"PK", "a.mar is no archive")])
def test_one_that_is_none_has_no_digest(content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.mar").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        digest_of_archive(tmp_path / "a.mar")
