"""An archive that is broken is refused, or answers each request with what is wrong; its server serves the others."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from intgrads.archives.archiver import make_archive
from intgrads.archives.names import LABELS, MANIFEST, WEIGHTS
from intgrads.errors import said
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.serving.torchserve import TorchServe
from shared.faults import QUICK, expected
from shared.serving import post

Files = dict[str, bytes]


def left_out(name: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        del files[name]

    return change


def manifest(**changes: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        held = json.loads(files[MANIFEST])
        files[MANIFEST] = json.dumps(held | {key: what(held) for key, what in changes.items()}).encode()

    return change


def replaced(name: str, content: bytes) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name] = content

    return change


def cut(name: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name] = files[name][: len(files[name]) // 2]

    return change


BROKEN: dict[str, tuple[Callable[[Files], None], str]] = {
    # what is done to it, and words of the reason
    "without weights": (left_out(WEIGHTS), WEIGHTS),
    "with half of its weights": (cut(WEIGHTS), WEIGHTS),
    "with no weights but noise": (replaced(WEIGHTS, bytes(range(256)) * 40), WEIGHTS),
    "without labels": (left_out(LABELS), LABELS),
    "with half of its labels": (cut(LABELS), LABELS),
    "without a manifest": (left_out(MANIFEST), MANIFEST),
    "with half of its manifest": (cut(MANIFEST), MANIFEST),
    "of a newer version, with a setting that is not known here": (
        manifest(settings=lambda held: held["settings"] | {"of_the_future": 1}), "of_the_future",
    ),
    "of a newer version, with a family that is not known here": (manifest(family=lambda _: "future"), "future"),
    "of a newer version, with a kind of input that is not known here": (
        lambda files: replaced(
            MANIFEST, files[MANIFEST].replace(b'"picture"', b'"hologram"')
        )(files), "hologram",
    ),
}  # fmt: skip


def broken_files(how: str, whole: Path) -> Files:
    """Return the files of an archive, one of them broken."""
    with zipfile.ZipFile(whole) as archive:
        files = {part: archive.read(part) for part in archive.namelist() if not part.endswith("/")}
    BROKEN[how][0](files)
    return files


@pytest.fixture(scope="module")
def whole(small_order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that is not broken."""
    return make_archive(small_order, "small", store=tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_broken_is_named_and_not_where_it_lies(how: str, whole: Path, tmp_path: Path) -> None:
    for name, content in broken_files(how, whole).items():
        if "/" not in name:
            (tmp_path / name).write_bytes(content)
    with pytest.raises((OSError, ValueError)) as raised:
        Service.load(tmp_path, torch.device("cpu"))
    assert BROKEN[how][1] in said(raised.value)
    assert "/" not in said(raised.value)


def register(server: TorchServe, name: str) -> requests.Response:
    options = {"url": f"{name}.mar", "model_name": name, "initial_workers": "1", "synchronous": "true"}
    return requests.post(f"{server.management_url}/models", params=options, timeout=240)


@pytest.fixture
def archive(faulty: TorchServe) -> Path:
    """Return where an archive of the server's that is broken lies."""
    return faulty.directory / "model_store" / "broken.mar"


OFTEN = "without weights"
"""The rest, of which each starts a worker, are tried where there is time."""


@pytest.mark.server
@pytest.mark.parametrize("how", [OFTEN, *(pytest.param(how, marks=pytest.mark.slow) for how in BROKEN if how != OFTEN)])
def test_what_cannot_be_loaded_says_why(how: str, faulty: TorchServe, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as broken:
        for part, content in broken_files(how, archive.with_name("small.mar")).items():
            broken.writestr(part, content)
    assert register(faulty, "broken").status_code == 200
    try:
        reply = post(faulty, "broken", **QUICK)
        error = reply.json()
        assert (reply.status_code, error["code"], error["type"]) == (503, 503, "ModelNotLoaded")
        assert BROKEN[how][1] in error["message"]
        assert "/" not in error["message"], "no path"
        assert expected(faulty, "small")
    finally:
        requests.delete(f"{faulty.management_url}/models/broken", timeout=120)


@pytest.mark.server
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_what_is_no_archive_is_not_registered(kept: float, faulty: TorchServe, archive: Path) -> None:
    whole = archive.with_name("small.mar").read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    reply = register(faulty, "broken")
    assert 400 <= reply.status_code <= 503
    assert reply.json()["message"]
    assert post(faulty, "broken", **QUICK).status_code == 404
    assert expected(faulty, "small")
