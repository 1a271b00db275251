"""A worker of a run, without Ray: it keeps what the service answers, and inputs that end workers are given up."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intgrads.bulk.inputs import Input
from intgrads.bulk.run import Run
from intgrads.bulk.store import Store
from intgrads.bulk.worker import MOST_DEATHS, Worker
from intgrads.call import MOST_BYTES, Call
from intgrads.client.result import Result
from intgrads.serving.archives import digest_of_archive
from safetensors.numpy import load_file
from shared.bulk import texts

INPUTS = [Input(f"t{k}", text, None) for k, text in enumerate(texts(6))] + [Input("empty", "", None)]


@pytest.fixture(scope="module")
def loaded(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """Return a worker whose folder tests exchange."""
    return worker_in(tmp_path_factory.mktemp("first"), archive)


def begun(directory: Path, inputs: list[Input], **asked: object) -> Store:
    directory.mkdir(exist_ok=True)
    store = Store(directory)
    store.write_inputs(inputs)
    store.make()
    what = {
        "model": "demo-text",
        "archive": "a",
        "options": {},
        "tensors": [],
        "fields_of_rows": [],
        "rows": len(inputs),
    }
    store.begin(Run.model_validate({**what, "inputs": "i", **asked}))
    return store


def worker_in(directory: Path, archive: Path) -> Worker:
    begun(directory, INPUTS, archive=digest_of_archive(archive))
    return Worker(directory, archive, 1)


@pytest.fixture
def at(loaded: Worker, tmp_path: Path) -> Worker:
    """Return it, at work in an empty folder."""
    return moved(loaded, begun(tmp_path, INPUTS))


def moved(worker: Worker, store: Store) -> Worker:
    assert store.run is not None
    worker.store, worker.run = store, store.run
    return worker


def rows(worker: Worker) -> dict[int, dict[str, object]]:
    worker.store.merge(0)
    import pyarrow.parquet as pq

    return {row["row"]: row for row in pq.read_table(worker.store.result(0)).to_pylist()}


def test_rows_tell_what_the_service_answers(at: Worker) -> None:
    at.answer(0, range(7))
    found = rows(at)
    for number, one in enumerate(INPUTS[:6]):
        (reply,) = at.service.answer([Call(body={"sequence": one.text, "format": "json"})])
        told = json.loads(b"".join(reply.body))
        assert json.loads(str(found[number]["info"])) == told
        assert found[number]["id"] == one.id
        assert found[number]["status"] == "done"
        for name in ("attribution_error", "convergence_delta", "local_error", "evaluations", "target_label", "tokens"):
            assert found[number][name] == told[name]
        assert found[number]["word_scores"] == pytest.approx(told["word_scores"], abs=0)
        assert found[number]["prediction"] == told["prediction"]["label"]


def test_a_bad_input_is_a_row_with_its_error(at: Worker) -> None:
    at.answer(0, [5, 6])
    found = rows(at)
    assert found[5]["status"] == "done"
    assert (found[6]["status"], found[6]["error_type"]) == ("failed", "EmptyText")
    assert "empty" in str(found[6]["error"])
    assert found[6]["attribution_error"] is None


def test_a_file_that_is_not_there_is_a_row_with_its_error(loaded: Worker, tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("Good.")
    paths = [Input(name, None, str(tmp_path / name)) for name in ("there.txt", "gone.txt")]
    worker = moved(loaded, begun(tmp_path, paths))
    worker.answer(0, [0, 1])
    found = rows(worker)
    assert found[0]["status"] == "done"
    assert (found[1]["status"], found[1]["error_type"]) == ("failed", "Unreadable")
    assert "no such file" in str(found[1]["error"])


def test_tensors_are_those_of_the_answer(loaded: Worker, tmp_path: Path) -> None:
    worker = moved(loaded, begun(tmp_path, INPUTS, tensors=["integrated_gradients", "output"], options={"n_steps": 4}))
    worker.answer(0, [1, 2])
    found = rows(worker)
    call = Call(body={"sequence": INPUTS[2].text, "n_steps": 4, "format": "safetensors"})
    expected = Result.read(b"".join(worker.service.answer([call])[0].body))
    held = load_file(worker.store.tensors / str(found[2]["tensors"]))
    assert sorted(held) == ["1/integrated_gradients", "1/output", "2/integrated_gradients", "2/output"]
    np.testing.assert_array_equal(held["2/integrated_gradients"], expected["integrated_gradients"])


def test_several_targets_groups_and_fields_of_rows(loaded: Worker, tmp_path: Path) -> None:
    own = [Input("a", "Not good.", None), Input("b", "Not good.", None, {"n_steps": 5})]
    options = {"target_class": ["negative", "positive"], "groups": "words"}
    worker = moved(loaded, begun(tmp_path, own, options=options))
    worker.answer(0, [0, 1])
    found = rows(worker)
    assert found[0]["target_label"] == ["negative", "positive"]
    assert len(found[0]["attribution_error"]) == 2  # type: ignore[arg-type]
    groups = found[0]["groups"]
    assert isinstance(groups, list)
    assert [group["label"] for group in groups if group["kind"] == "word"] == ["Not", "good", "."]
    assert len(groups[0]["idg"]) == 2
    assert (found[0]["n_steps"], found[1]["n_steps"]) == (3, 5)


def test_groups_that_a_column_asks_for_have_a_column(loaded: Worker, tmp_path: Path) -> None:
    own = [Input("a", "Not good.", None, {"groups": "words"}), Input("b", "Not good.", None)]
    worker = moved(loaded, begun(tmp_path, own, fields_of_rows=["groups"]))
    worker.answer(0, [0, 1])
    found = rows(worker)
    groups = found[0]["groups"]
    assert isinstance(groups, list)
    assert "Not" in [group["label"] for group in groups]
    assert found[1]["groups"] is None


def test_what_a_worker_before_it_has_kept_is_left_alone(at: Worker) -> None:
    at.answer(0, [0, 1])
    before = {part.name for part in at.store.parts_of(0)}
    at.answer(0, [0, 1, 2])
    (new,) = {part.name for part in at.store.parts_of(0)} - before
    assert at.store.rows_of(at.store.parts / new) == [2]


class DeathError(BaseException):
    """Stands for the end of a worker's process."""


@pytest.mark.parametrize("where", ["_read", "_compute"])
def test_an_input_on_which_workers_die_is_given_up_and_no_other(
    at: Worker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    deadly = INPUTS[2].text
    real_read, real_compute = Worker._read, Worker._compute

    def reads(worker: Worker, rows: Any, inputs: Any) -> Any:
        if where == "_read" and any(inputs[row].text == deadly for row in rows):
            raise DeathError
        return real_read(worker, rows, inputs)

    def computes(worker: Worker, read: Any, inputs: Any, pending: Any) -> None:
        if where == "_compute" and any(inputs[row].text == deadly for row in read.rows):
            raise DeathError
        real_compute(worker, read, inputs, pending)

    monkeypatch.setattr(Worker, "_read", reads)
    monkeypatch.setattr(Worker, "_compute", computes)
    deaths = 0
    while True:
        try:
            at.answer(0, range(6))
            break
        except DeathError:
            deaths += 1
            assert deaths <= MOST_DEATHS
    assert deaths == MOST_DEATHS
    found = rows(at)
    assert [found[row]["status"] for row in range(6)] == ["done", "done", "failed", "done", "done", "done"]
    assert found[2]["error_type"] == "WorkerDied"


def test_rows_with_one_target_beside_rows_with_several_are_refused(loaded: Worker, tmp_path: Path) -> None:
    own = [
        Input("a", "Not good.", None, {"target_class": ["negative", "positive"]}),
        Input("b", "Not good.", None, {"target_class": "negative"}),
    ]
    worker = moved(loaded, begun(tmp_path, own))
    worker.answer(0, [0, 1])
    found = rows(worker)
    assert [found[row]["status"] for row in (0, 1)] == ["failed", "done"]
    assert found[0]["error_field"] == "target_class"


def test_another_archive_than_the_runs_is_refused(archive: Path, tmp_path: Path) -> None:
    begun(tmp_path, INPUTS, archive="another")
    with pytest.raises(ValueError, match="another archive than the run was begun with"):
        Worker(tmp_path, archive, 1)


def test_rows_are_kept_one_by_one_where_they_take_long(at: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intgrads.bulk.worker.KEPT_AFTER", 0)
    at.answer(0, [0, 1, 2])
    assert [at.store.rows_of(part) for part in at.store.parts_of(0)] == [[0], [1], [2]]


def test_a_page_of_an_input(at: Worker, tmp_path: Path) -> None:
    assert at.page(0, 0, tmp_path / "page.html")
    assert "integrated" in (tmp_path / "page.html").read_text()
    assert not at.page(0, 6, tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_what_is_no_text_or_no_file_is_a_row_with_its_error(loaded: Worker, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    inputs = [
        Input("\udcff", "not \ud800 text", None),
        *(Input(name, None, str(tmp_path / name)) for name in ("pipe", "large", "\udcff", "a\0b")),
        Input("folder", None, str(tmp_path)),
    ]
    worker = moved(loaded, begun(tmp_path / "run", inputs))
    worker.answer(0, range(6))
    found = rows(worker)
    assert {row["status"] for row in found.values()} == {"failed"}
    assert found[0]["error_type"] not in (None, "Unreadable")
    assert [found[row]["error_type"] for row in range(1, 6)] == ["Unreadable"] * 5
    assert found[0]["id"] == "\\udcff"
    assert "larger than" in str(found[2]["error"])
