"""Nothing depends on the time of day: a clock that jumps changes no answer, no deadline and no file."""

import ast
import itertools
import time
from pathlib import Path

import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.settings import Settings
from shared.archives import TINY
from shared.places import HANDLER
from shared.toys import call, encoded, pixels, small_service

DAY = 86_400


def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock on the wall jump by days, forth and back, each time that it is read."""
    jumps = itertools.cycle((400 * DAY, -400 * DAY, 3 * DAY))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (now + next(jumps))))


@pytest.mark.parametrize("format", ["gzip", "safetensors", "npz", "json", "png", "html"])
def test_answers_are_the_same(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = small_service(response_timeout=100)
    ask = call(data=encoded(pixels()), n_steps="4", format=format)
    (before,) = service.answer([ask])
    jumping(monkeypatch)
    for _ in range(3):
        (after,) = service.answer([ask])
        assert after.status == before.status == 200
        assert b"".join(after.body) == b"".join(before.body)
        assert 0 <= float(after.headers["X-Intgrads-Seconds"]) < 100


def test_an_archive_is_made(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jumping(monkeypatch)
    order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings())
    assert make_archive(order, "small", store=tmp_path).is_file()


def test_no_module_asks_for_the_time_of_day() -> None:
    """Of the module ``time`` they use what counts seconds alone, and never ``datetime``.

    But for what the command prints beside a request: people want to know when it was.
    """
    used = set()
    for path in {*HANDLER.rglob("*.py")} - {*(HANDLER / "intgrads" / "command").glob("*.py")}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                used.add(node.attr)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert "datetime" not in names, path
                assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), path
    assert used <= {"monotonic", "perf_counter", "sleep"}
