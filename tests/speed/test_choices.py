"""The fastest way of computing a layer is taken by a clear margin, kept for all workers, and can be fixed."""

import errno
import json
import logging
import threading
import time
from pathlib import Path

import pytest
from intgrads.speed import choices as module
from intgrads.speed.choices import FILE, Choices, shared_choices


class Clock:
    """Ways that take the time they say, by a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.runs: list[str] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def ways(self, **seconds: float) -> dict[str, object]:
        def run(name: str) -> None:
            self.runs.append(name)
            self.now += seconds[name]

        return {name: lambda name=name: run(name) for name in seconds}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"plain": 1.0, "other": 0.5}, "other"),
        ({"plain": 1.0, "other": 0.95}, "plain"),
        ({"plain": 1.0, "other": 2.0}, "plain"),
        ({"plain": 1.0, "other": 0.5, "packed": 0.48}, "other"),
        ({"plain": 1.0, "other": 0.5, "packed": 0.4}, "packed"),
        ({"plain": 1.0}, "plain"),
    ],
)
def test_another_way_must_be_faster_by_a_margin(seconds: dict[str, float], chosen: str, clock: Clock) -> None:
    assert Choices().fastest("layer", clock.ways(**seconds)) == chosen  # type: ignore[arg-type]


def test_ways_take_turns_and_one_slow_run_decides_nothing(clock: Clock) -> None:
    choices, slow = Choices(), iter([9.0])

    def other() -> None:
        clock.now += next(slow, 0.5)

    assert choices.fastest("layer", {**clock.ways(plain=1.0), "other": other}) == "other"  # type: ignore[dict-item]
    assert clock.runs == ["plain"] * 2, "enough seconds were spent"


def test_short_ways_are_run_more_often(clock: Clock) -> None:
    Choices().fastest("layer", clock.ways(plain=0.001, other=0.002))  # type: ignore[arg-type]
    assert clock.runs == ["plain", "other"] * module.ROUNDS


def test_a_question_is_asked_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    choices = Choices()
    with caplog.at_level(logging.INFO):
        choices.fastest("layer", clock.ways(plain=1.0, other=0.5))  # type: ignore[arg-type]
    assert "layer: other (plain 1000.00 ms, other 500.00 ms)" in caplog.text
    clock.runs.clear()
    assert choices.fastest("layer", clock.ways(plain=1.0, other=5.0)) == "other"  # type: ignore[arg-type]
    assert not clock.runs


def test_what_is_not_known_is_plain_where_nothing_is_measured(clock: Clock) -> None:
    choices = Choices({"layer": "other", "gone": "a way of another version"}, measure=False)
    ways = clock.ways(plain=1.0, other=0.5)
    assert [choices.fastest(q, ways) for q in ("layer", "gone", "new")] == ["other", "plain", "plain"]  # type: ignore[arg-type]
    assert not clock.runs


def test_the_first_worker_measures_and_the_others_take_its_choice(tmp_path: Path, clock: Clock) -> None:
    with shared_choices(tmp_path, "measured") as first:
        first.fastest("layer", clock.ways(plain=1.0, other=0.5))  # type: ignore[arg-type]
    assert json.loads((tmp_path / FILE).read_text()) == {"layer": "other"}
    with shared_choices(tmp_path, "measured") as second:
        assert second.fastest("layer", clock.ways(plain=0.5, other=1.0)) == "other"  # type: ignore[arg-type]


def test_a_worker_waits_for_the_choice_of_the_one_that_loads(tmp_path: Path) -> None:
    found, started = [], threading.Event()

    def second() -> None:
        started.set()
        with shared_choices(tmp_path, "measured") as choices:
            found.append(dict(choices.made))

    thread = threading.Thread(target=second)
    with shared_choices(tmp_path, "measured") as first:
        thread.start()
        started.wait()
        first.made["layer"] = "other"
    thread.join()
    assert found == [{"layer": "other"}]


def test_a_worker_that_fails_to_load_leaves_the_choice_to_the_next(tmp_path: Path) -> None:
    def load() -> None:
        with shared_choices(tmp_path, "measured") as first:
            first.made["layer"] = "other"
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        load()
    with shared_choices(tmp_path, "measured") as second:
        assert second.measure
        assert not second.made


@pytest.mark.parametrize(("setting", "chosen"), [("plain", "plain"), ({"layer": "other"}, "other")])
def test_a_setting_fixes_it(setting: module.Operators, chosen: str, tmp_path: Path, clock: Clock) -> None:
    with shared_choices(tmp_path, setting) as choices:
        assert choices.fastest("layer", clock.ways(plain=1.0, other=0.5)) == chosen  # type: ignore[arg-type]
    assert not clock.runs
    assert not (tmp_path / FILE).exists()


def test_where_nothing_can_be_written_each_worker_measures(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("intgrads.speed.choices.FileLock.acquire", refuse)
    with shared_choices(tmp_path, "measured") as choices:
        assert choices.fastest("layer", clock.ways(plain=1.0, other=0.5)) == "other"  # type: ignore[arg-type]
    assert "for this worker alone: read-only" in caplog.text
    assert not (tmp_path / FILE).exists()


def test_a_disk_that_is_full_keeps_no_worker_from_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written of the choices is not left behind as all of them."""

    def write_half(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text.encode()[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    with shared_choices(tmp_path, "measured") as made:
        made.made["layer"] = "other"
    assert "No space left" in caplog.text
    assert not (tmp_path / FILE).exists()
    with shared_choices(tmp_path, "measured") as made:
        assert made.measure
