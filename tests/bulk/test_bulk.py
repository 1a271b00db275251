"""``intgrads bulk`` by Ray: from a table to results, what its exit codes say, and what it refuses to begin."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from intgrads.command.main import app
from shared.bulk import bulk, results, texts, write_csv
from shared.commands import interrupted, read_until, running
from shared.pages import ROOT, blocks
from typer.testing import CliRunner

pytestmark = pytest.mark.server

SAME = ("--field-column", "target_class=label", "--tensors", "output,tokens")
"""What the run of these tests asks, the tokens by mistake: they are words."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of 40 texts, one of them empty, with a label each."""
    written = ["" if k == 7 else text for k, text in enumerate(texts(40))]
    labels = ["negative" if k % 3 else "positive" for k in range(40)]
    return write_csv(tmp_path_factory.mktemp("source") / "texts.csv", written, label=labels)


@pytest.fixture(scope="module")
def done(source: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run over it, by two workers."""
    out = tmp_path_factory.mktemp("run") / "out"
    run = bulk(source, archive, out, *SAME, "--workers", "2", "--cpus", "1", "--json")
    told = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 3, run.stderr
    assert told[0] == {"event": "begin", "rows": 40, "done": 0, "failed": 0, "left": 40}
    assert any("has a tensor tokens" in one["said"] for one in told if one["event"] == "note")
    (sizes,) = (one for one in told if one["event"] == "sizes")
    assert sizes["rows"] == 36
    assert 0 < sizes["tensors"] < sizes["free"]
    assert told[-1] == {"event": "end", "done": 39, "failed": 1, "results": str(out / "results")}
    assert "Traceback" not in run.stderr
    return out


def test_every_row_is_there_once_and_pandas_reads_them(done: Path) -> None:
    table = pd.read_parquet(done / "results")
    assert list(table["row"]) == list(range(40))
    assert list(table["status"] == "failed") == [k == 7 for k in range(40)]
    answered = table[table["status"] == "done"]
    assert list(answered["target_label"]) == ["negative" if k % 3 else "positive" for k in range(40) if k != 7]
    assert (
        answered[["value", "difference", "attribution_error", "evaluations", "seconds", "info"]].notna().all(axis=None)
    )
    for file in answered["tensors"].unique():
        assert (done / "tensors" / file).is_file()


def test_a_report_with_the_pages_of_the_worst(done: Path) -> None:
    report = (done / "report.html").read_text()
    pages = sorted((done / "pages").iterdir())
    assert len(pages) == 10
    assert all(f'href="pages/{page.name}"' in report for page in pages)
    assert "EmptyText" in report
    assert json.loads((done / "summary.json").read_text())["done"] == 39


def test_nothing_but_results_is_left_behind(done: Path) -> None:
    expected = [".lock", "inputs.parquet", "pages", "report.html", "results", "run.json", "summary.json", "tensors"]
    assert sorted(path.name for path in done.iterdir()) == expected


def test_a_second_run_has_nothing_to_do_and_another_one_is_refused(source: Path, archive: Path, done: Path) -> None:
    before = (done / "results" / "00000.parquet").read_bytes()
    again = bulk(source, archive, done, *SAME)
    assert again.returncode == 3
    assert "39 of 40 inputs are answered" in again.stdout
    assert (done / "results" / "00000.parquet").read_bytes() == before
    other = bulk(source, archive, done, *SAME, "--field", "n_steps=9")
    assert other.returncode == 1
    assert "asks something else (n_steps was null, is 9)" in other.stderr


def test_what_failed_alone_is_tried_again_if_asked(source: Path, archive: Path, done: Path) -> None:
    before = {row["row"]: row for row in results(done)}
    again = bulk(source, archive, done, *SAME, "--retry-failed", "--json")
    assert json.loads(again.stdout.splitlines()[0])["left"] == 1
    assert again.returncode == 3
    after = {row["row"]: row for row in results(done)}
    assert {row for row in after if after[row] != before[row]} <= {7}
    assert after.keys() == before.keys()


def test_what_is_wrong_for_every_input_is_told_before_they_are_begun(
    source: Path, archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = bulk(source, archive, out, "--target-class", "neutral")
    assert run.returncode == 1
    assert "target_class:" in run.stderr
    assert "neutral" in run.stderr
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_ctrl_c_keeps_what_is_finished(archive: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "texts.csv", texts(2000))
    options = ["--field", "n_steps=30", "--json"]
    with running("bulk", source, "--model", archive, "--out", tmp_path / "out", *options) as process:
        read_until(process, '"event": "progress", "done": 4')
        code, _, told = interrupted(process)
    assert code == 130
    assert "the same command goes on from there" in told
    assert len(results(tmp_path / "out")) >= 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--field", "fields=output"], "--tensors"),
        (["--field-column", "label"], "FIELD=COLUMN"),
        (["--field-column", "sequence=label"], "is the input"),
        (["--field", "image=x"], "is the input"),
    ],
)
def test_what_was_typed_wrongly_is_told(source: Path, tmp_path: Path, options: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["bulk", str(source), "--model", "x.mar", "--out", str(tmp_path / "o"), *options])
    assert done.exit_code == 2
    assert told in done.output


def test_an_input_that_is_none_is_told(archive: Path, tmp_path: Path) -> None:
    run = bulk(tmp_path / "none.csv", archive, tmp_path / "out")
    assert run.returncode == 1
    assert "there is no" in run.stderr


def test_results_are_read_as_the_documentation_shows(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attributions").symlink_to(done)
    monkeypatch.chdir(tmp_path)
    (program,) = blocks(ROOT / "docs" / "bulk.md", "python")
    found: dict[str, Any] = {}
    exec(program.replace("integrated_grads", "output"), found)
    assert found["values"].shape == (1, 2)
    assert found["worst"].attribution_error == found["answered"].attribution_error.max()
