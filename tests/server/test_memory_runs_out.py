"""A worker whose memory runs out says so to the one who asked, or goes on with less at a time; it lives on."""

from typing import Any

import numpy as np
import pytest
from intgrads.pictures.decoding import decode_picture
from intgrads.serving.torchserve import TorchServe
from shared.faults import PICTURE, expected, memory_left, the_worker, wait_for_another_worker
from shared.places import EXAMPLES
from shared.serving import post
from shared.toys import encoded, pixels

pytestmark = pytest.mark.server

CAT = (EXAMPLES / "cat.jpg").read_bytes()
PHOTO = encoded(np.zeros((6000, 8000, 3), np.uint8))
FLAT = encoded(np.full((1500, 2000, 3), 200, np.uint8))


def large(format: str, steps: int = 400) -> dict[str, Any]:
    """Return a request whose answer has 39 million bytes before it is encoded."""
    fields = "integrated_directional_grads,intermediates"
    return {"files": {"data": PICTURE}, "data": {"format": format, "n_steps": str(steps), "fields": fields}}


ASKS: dict[str, dict[str, Any]] = {
    "a large photo is decoded": {"files": {"data": PHOTO}, "data": {"format": "json", "n_steps": "2"}},
    "many steps share a batch": {"files": {"data": CAT}, "data": {"format": "json", "n_steps": "400"}},
    "a large answer of safetensors": large("safetensors"),
    "a large answer of gzip": large("gzip"),
    "a large answer of npz": large("npz"),
    "a large answer of json": large("json", 50),
    "a large heat map": {"files": {"data": FLAT}, "data": {"format": "png", "n_steps": "2"}},
    "a large page": {"files": {"data": FLAT}, "data": {"format": "html", "n_steps": "2"}},
}
"""What takes memory, each in its own way."""

MEGABYTES = (4, 25, 60, 100)
"""That are left to the worker, in turns."""


def test_without_memory_for_a_picture_it_is_told_so(faulty: TorchServe) -> None:
    before, worker = expected(faulty, "small"), the_worker(faulty, "small")
    for megabytes in (25, 100):
        with memory_left(worker, megabytes * 2**20):
            reply = post(faulty, "small", **ASKS["a large photo is decoded"])
        assert (reply.status_code, reply.json()["type"]) == (507, "OutOfMemory")
        assert expected(faulty, "small") == before
    assert the_worker(faulty, "small") == worker


@pytest.mark.slow
def test_wherever_it_runs_out(faulty: TorchServe) -> None:
    """The caller is told, and the next one is answered: by another worker where a library ended this one."""
    before, got = expected(faulty, "small"), dict[str, list[str]]()
    for what, ask in ASKS.items():
        for megabytes in MEGABYTES:
            worker = the_worker(faulty, "small")
            with memory_left(worker, megabytes * 2**20):
                reply = post(faulty, "small", **ask)
            told = "an answer" if reply.status_code == 200 else reply.json()["type"]
            if reply.status_code != 200 and reply.json()["message"] == "Worker died.":
                told = "Worker died."
                wait_for_another_worker(faulty, "small", worker)
            got.setdefault(what, []).append(told)
            assert told in ("an answer", "OutOfMemory", "Worker died."), (what, megabytes, reply.text[:500])
            assert expected(faulty, "small") == before, (what, megabytes)
    print(got)
    assert sum(one.count("OutOfMemory") for one in got.values()) >= len(ASKS)


def test_memory_that_runs_out_in_decoding_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow tells of it as it does of files that are damaged."""

    def load(*_: Any) -> None:
        raise OSError("out of memory error when reading image file")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(MemoryError):
        decode_picture(encoded(pixels()), "data", 10**6)
