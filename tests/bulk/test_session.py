"""One go at a run, as far as it needs no Ray: what is taken up again, what is refused, what the disk has to hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from intgrads.bulk.inputs import Columns, InputsError
from intgrads.bulk.rows import table_of
from intgrads.bulk.session import Asked, DiskFullError, OtherRunError, Session, in_words
from intgrads.bulk.store import Store
from shared.bulk import texts, write_csv

ROWS = 8


class Disk(NamedTuple):
    """What a disk has, as shutil tells it."""

    total: int
    used: int
    free: int


@pytest.fixture
def asked(archive: Path, tmp_path: Path) -> Asked:
    """Return what a run over a small table asks."""
    return Asked(str(write_csv(tmp_path / "t.csv", texts(ROWS))), Columns(), archive, {"n_steps": 5}, ())


def session(out: Path, asked: Asked, **how: Any) -> Session:
    return Session(Store(out), asked, **{"retry_failed": False, **how})


def finish(session: Session, rows: dict[int, str]) -> None:
    told: list[Mapping[str, Any]] = [
        {"row": row, "id": str(row), "status": status, "info": "x" * 1000} for row, status in rows.items()
    ]
    session.store.write_part(0, pa.concat_tables([table_of(row, session.run, "text") for row in told]), {})


def test_a_run_is_taken_up_where_it_was(asked: Asked, tmp_path: Path) -> None:
    first = session(tmp_path / "out", asked)
    assert (first.state.done, first.state.rows_left) == (0, ROWS)
    finish(first, {0: "done", 1: "failed"})
    assert first.counts() == (2, 1)
    second = session(tmp_path / "out", asked)
    assert second.run == first.run
    assert (second.state.done, second.state.failed, second.state.rows_left) == (2, 1, ROWS - 2)
    assert second.counts() == (2, 1)
    third = session(tmp_path / "out", asked, retry_failed=True)
    assert (third.state.done, third.state.failed, third.state.rows_left) == (1, 0, ROWS - 1)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"options": {"n_steps": 6}}, "n_steps was 5, is 6"),
        ({"tensors": ("output",)}, r'tensors was \[\], is \["output"\]'),
        ({"columns": Columns(fields={"seed": "text"})}, "other inputs"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    asked: Asked, tmp_path: Path, other: dict[str, Any], told: str
) -> None:
    finish(session(tmp_path / "out", asked), {0: "done"})
    with pytest.raises(OtherRunError, match=told):
        session(tmp_path / "out", Asked(**{**vars(asked), **other}))
    assert session(tmp_path / "out", asked).state.done == 1


def test_inputs_that_changed_are_refused(asked: Asked, tmp_path: Path) -> None:
    session(tmp_path / "out", asked)
    write_csv(Path(asked.source), texts(ROWS - 1))
    with pytest.raises(OtherRunError, match="another number of inputs, other inputs"):
        session(tmp_path / "out", asked)


def test_no_inputs_are_told_and_leave_nothing_behind(asked: Asked, tmp_path: Path) -> None:
    write_csv(Path(asked.source), [])
    with pytest.raises(InputsError, match="holds no inputs"):
        session(tmp_path / "out", asked)
    write_csv(Path(asked.source), texts(ROWS))
    assert session(tmp_path / "out", asked).run.rows == ROWS


def test_a_disk_that_will_not_hold_it_is_told_beforehand(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = session(tmp_path / "out", asked)
    assert begun.sizes() is None
    finish(begun, {0: "done", 1: "done"})
    sizes = begun.sizes()
    assert sizes is not None
    assert sizes.rows == ROWS - 2
    assert sizes.results > 0
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(10**9, 10**9, sizes.results - 1))
    with pytest.raises(DiskFullError, match="fewer --tensors, or choose another --out"):
        begun.sizes()
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(10**9, 10**9, sizes.results))
    assert begun.sizes() is not None


def test_files_of_a_folder_that_are_left_out_are_told(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.md"):
        (tmp_path / "in" / name).write_text("Good.")
    begun = session(tmp_path / "out", Asked(str(tmp_path / "in"), Columns(), archive, {}, ()))
    assert begun.run.rows == 1
    assert begun.notes[0].startswith("left out: 1 of the files of ")


def test_bytes_are_told_as_people_say_them() -> None:
    assert [in_words(size) for size in (12, 3456, 7_890_000, 1_234_000_000_000)] == [
        "12 bytes",
        "3.46 kB",
        "7.89 MB",
        "1,234.0 GB",
    ]


def test_a_folder_with_something_else_in_it_is_left_alone(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OtherRunError, match=r"holds no run, but thesis\.txt"):
        session(tmp_path / "out", asked)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_damaged_account_of_a_run_is_told(asked: Asked, tmp_path: Path) -> None:
    session(tmp_path / "out", asked)
    (tmp_path / "out" / "run.json").write_text('{"rows": 3}')
    with pytest.raises(ValueError, match=r"run\.json cannot be read"):
        session(tmp_path / "out", asked)


def test_a_run_that_came_no_further_than_its_inputs_is_begun_anew(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("inputs.parquet", ".inputs.parquet.1.unfinished", ".lock"):
        (tmp_path / "out" / name).write_bytes(b"half")
    assert session(tmp_path / "out", asked).state.rows_left == ROWS
