"""A worker whose memory runs out says so to the one who asked, or goes on with less at a time; it lives on."""

from typing import Any

import numpy as np
import pytest
from intgrads.pictures.decoding import decode_picture
from server import TorchServe
from shared.faults import PICTURE, expected, memory_left, the_worker
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


def ask_without_memory(server: TorchServe, what: str, megabytes: int) -> int:
    """Ask a worker that has little memory left; return the status, with the worker as it was before."""
    before, worker = expected(server, "small"), the_worker(server, "small")
    with memory_left(worker, megabytes * 2**20):
        reply = post(server, "small", **ASKS[what])
    assert reply.status_code in (200, 507), (what, megabytes, reply.text[:500])
    if reply.status_code == 507:
        assert reply.json()["type"] == "OutOfMemory", (what, megabytes)
    assert expected(server, "small") == before, (what, megabytes)
    assert the_worker(server, "small") == worker, (what, megabytes)
    return reply.status_code


def test_without_memory_it_is_told_so(faulty: TorchServe) -> None:
    """In decoding, and in encoding by a library that ends the process."""
    assert ask_without_memory(faulty, "a large photo is decoded", 25) == 507
    assert ask_without_memory(faulty, "a large answer of safetensors", 100) == 507


def test_with_little_memory_it_goes_on_with_fewer_points_at_a_time(faulty: TorchServe) -> None:
    assert ask_without_memory(faulty, "many steps share a batch", 25) == 200
    assert "out of memory with" in faulty.log("model_log.log")


@pytest.mark.slow
def test_wherever_it_runs_out(faulty: TorchServe) -> None:
    got = {what: [ask_without_memory(faulty, what, megabytes) for megabytes in MEGABYTES] for what in ASKS}
    print(got)
    assert sum(statuses.count(507) for statuses in got.values()) >= len(ASKS)


def test_memory_that_runs_out_in_decoding_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow tells of it as it does of files that are damaged."""

    def load(*_: Any) -> None:
        raise OSError("out of memory error when reading image file")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(MemoryError):
        decode_picture(encoded(pixels()), "data", 10**6)
