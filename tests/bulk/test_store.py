"""The folder of a run: a finished row is kept whatever ends the run, none is there twice, and none goes missing."""

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads.bulk.inputs import Input
from intgrads.bulk.plan import State, chunks, samples, state
from intgrads.bulk.rows import table_of
from intgrads.bulk.run import Run
from intgrads.bulk.store import BLOCK, Store, whole
from safetensors.numpy import load_file

RUN = Run(model="m", archive="a", options={}, tensors=["output"], fields_of_rows=[], rows=0, inputs="i")


def made(directory: Path, inputs: int = 3) -> Store:
    store = Store(directory)
    directory.mkdir(exist_ok=True)
    store.write_inputs(Input(str(k), "x" * (k % 7), None) for k in range(inputs))
    store.make()
    return store


def part(rows: dict[int, str], note: str = "") -> pa.Table:
    told = [{"row": row, "id": str(row), "status": status, "error": note} for row, status in rows.items()]
    return pa.concat_tables([table_of(row, RUN, "text") for row in told])


def test_inputs_come_back_by_their_blocks(tmp_path: Path) -> None:
    inputs = [Input(f"i{k}", None if k % 2 else "text", "path" if k % 2 else None, {"n": k}) for k in range(BLOCK + 2)]
    store = Store(tmp_path)
    rows, digest = store.write_inputs(inputs)
    assert rows == BLOCK + 2
    assert store.read_inputs(1) == {BLOCK: inputs[BLOCK], BLOCK + 1: inputs[BLOCK + 1]}
    assert store.digest_inputs(inputs) == (rows, digest)
    assert store.digest_inputs(inputs[::-1])[1] != digest


def test_parts_become_one_file_in_the_order_of_rows(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write_part(0, part({2: "done", 0: "failed"}), {})
    store.write_part(0, part({1: "done"}), {})
    assert store.counts() == (3, 1)
    assert store.finished(0) == {0: "failed", 1: "done", 2: "done"}
    assert store.merge(0) == (3, 1)
    assert pq.read_table(store.result(0))["row"].to_pylist() == [0, 1, 2]
    assert store.counts() == (0, 0)


def test_of_a_row_that_was_answered_twice_the_newest_answer_counts(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write_part(0, part({0: "failed", 1: "done"}, "old"), {})
    store.merge(0)
    store.write_part(0, part({0: "done"}, "new"), {})
    store.merge(0)
    assert pq.read_table(store.result(0)).select(["status", "error"]).to_pylist() == [
        {"status": "done", "error": "new"},
        {"status": "done", "error": "old"},
    ]


def test_tensors_lie_where_their_rows_say(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write_part(0, part({0: "done", 1: "failed"}), {"0/output": np.ones((1, 2), np.float32)})
    first, second = pq.read_table(store.parts_of(0)[0])["tensors"].to_pylist()
    assert second is None
    assert load_file(store.tensors / first)["0/output"].tolist() == [[1, 1]]


def test_what_a_broken_off_run_left_is_removed_and_what_it_finished_is_not(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write_part(0, part({0: "done"}), {"0/output": np.ones(1, np.float32)})
    kept = {path.name for path in store.tensors.iterdir()}
    (store.tensors / "00000-orphan.safetensors").write_bytes(b"x")
    os.utime(store.tensors / "00000-orphan.safetensors", (0, 0))
    (store.tensors / "00000-young.safetensors").write_bytes(b"x")  # its part may come yet
    (store.parts / ".00000-1-0.parquet.0.unfinished").write_bytes(b"x")
    store.mark(1)
    store.tidy(1)
    assert {path.name for path in store.tensors.iterdir()} == {*kept, "00000-young.safetensors"}
    assert store.marks() == {}
    assert store.counts() == (1, 0)


def test_a_file_that_is_broken_off_is_not_under_its_name(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    with pytest.raises(RuntimeError), whole(place) as written:  # noqa: PT012
        written.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert place.read_text() == "old"


class KilledError(BaseException):
    """Stands for a kill at any moment."""


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_wherever_merging_is_broken_off_each_row_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    store = made(tmp_path_factory.mktemp("run"), 12)
    rows = list(range(12))
    chance.shuffle(rows)
    kept = set[int]()
    steps = [rows[:3], rows[3:7], rows[5:9], rows[9:]]  # some rows twice, as where a worker was given up too soon
    for step in steps:
        store.write_part(0, part(dict.fromkeys(step, "done")), {})
        kept |= set(step)
        unlinks = chance.randint(0, 3)

        def unlink(path: Path, left: list[int] = [unlinks], **_: Any) -> None:  # noqa: B006
            if not left[0]:
                raise KilledError
            left[0] -= 1
            path.rename(path.with_suffix(".gone"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            with suppress(KilledError):
                store.merge(0)
        assert set(store.finished(0)) == kept
    store.merge(0)
    assert pq.read_table(store.result(0))["row"].to_pylist() == list(range(12))


def test_what_is_left_comes_by_length_and_failed_rows_if_asked(tmp_path: Path) -> None:
    store = made(tmp_path, 10)
    store.write_part(0, part({0: "done", 1: "failed"}), {})
    store.merge(0)
    assert state(store, 10, retry_failed=False) == State(2, 1, {0: [6, 5, 4, 3, 2, 9, 8, 7]})
    assert state(store, 10, retry_failed=True).left == {0: [6, 5, 4, 3, 2, 9, 1, 8, 7]}


@given(st.integers(1, 5000), st.integers(1, 8))
def test_chunks_hold_every_row_once_and_lie_in_one_block(rows: int, workers: int) -> None:
    left = {block: list(range(block * BLOCK, min(rows, (block + 1) * BLOCK))) for block in range(-(-rows // BLOCK))}
    found = list(chunks(left, workers))
    assert [row for chunk in found for row in chunk.rows] == list(range(rows))
    assert all(row // BLOCK == chunk.block for chunk in found for row in chunk.rows)
    assert set(samples(left).rows) <= set(range(rows))


@pytest.mark.parametrize("kept", [0, 10, 100, -1])
def test_a_damaged_file_of_results_is_named_with_what_to_do(tmp_path: Path, kept: int) -> None:
    """Cut short, or with its first bytes overwritten, which Arrow sees as it unpacks them."""
    store = made(tmp_path)
    store.write_part(0, part(dict.fromkeys(range(3), "done")), {})
    store.merge(0)
    whole_file = store.result(0).read_bytes()
    store.result(0).write_bytes(whole_file[:kept] if kept >= 0 else b"PAR1" + b"\xff" * 60 + whole_file[64:])
    with pytest.raises(
        ValueError, match=r"00000\.parquet is damaged .*; remove it, and what it held is answered again"
    ):
        state(store, 3, retry_failed=False)


def test_damaged_inputs_are_told_as_what_they_are(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.inputs.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"inputs\.parquet is damaged .*; begin anew in another --out"):
        state(store, 3, retry_failed=False)
