"""What INPUT of a run can be: folders, patterns, tables, one file; and what is said of all else."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intgrads.bulk.inputs import Columns, Input, InputsError, left_out, read_inputs


def read(source: str | Path, columns: Columns | None = None) -> list[Input]:
    return list(read_inputs(str(source), columns or Columns()))


def test_a_folder_gives_its_pictures_and_texts_in_order_and_counts_the_rest(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a.png", "b/1.txt", "notes.md", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [one.id for one in read(tmp_path)] == ["a.png", "b/1.txt", "b/2.JPG"]
    assert read(tmp_path)[0] == Input("a.png", None, str(tmp_path / "a.png"))
    assert left_out(str(tmp_path)) == 2


def test_a_pattern_gives_all_files_that_fit(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "3.md"):
        (tmp_path / name).write_bytes(b"x")
    assert [Path(one.id).name for one in read(f"{tmp_path}/*.jpg")] == ["1.jpg", "2.jpg"]
    assert [one.id for one in read(f"{tmp_path}/./*.md")] == [f"{tmp_path}/./3.md"]


def test_one_file_is_one_input(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"x")
    assert read(tmp_path / "cat.jpg") == [Input("cat.jpg", None, str(tmp_path / "cat.jpg"))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", '\ufefftext,label\nGood.,1\n"a, b",2\n'),
        ("t.tsv", "text\tlabel\nGood.\t1\na, b\t2\n"),
        ("t.jsonl", '{"text": "Good.", "label": 1}\n\n{"text": "a, b", "label": 2}\n'),
    ],
)
def test_tables_of_texts_are_read_alike(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read(tmp_path / name, Columns(fields={"target_class": "label"}))
    assert found == [Input("0", "Good.", None, {"target_class": 1}), Input("1", "a, b", None, {"target_class": 2})]


def test_parquet_of_paths_that_start_at_its_folder(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.jpg", None], "id": [7, 8], "label": ["cat", None]})
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = read(tmp_path / "t.parquet", Columns(fields={"target_class": "label"}))
    assert first == Input("7", None, str(tmp_path / "a.jpg"), {"target_class": "cat"})
    assert second.fields == {}


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"review": "Good.", "key": "k", "text": "not this"}))
    assert read(tmp_path / "t.jsonl", Columns(text="review", id="key")) == [Input("k", "Good.", None)]


def test_a_row_without_its_text_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": null}\n')
    assert read(tmp_path / "t.jsonl") == [Input("0", "", None)]


@pytest.mark.parametrize(
    ("name", "content", "columns", "told"),
    [
        (
            "t.csv",
            b"review\nGood.\n",
            Columns(),
            r"the table has no column 'path', only 'review'; name the one of the texts by --text-column",
        ),
        ("t.csv", b"text\nGood.\n", Columns(id="key"), "no column 'key'"),
        ("t.csv", b"text\nGood.\n", Columns(fields={"target_class": "label"}), "no column 'label'"),
        ("t.csv", b"text,text\na,b\n", Columns(), "the table has 2 columns 'text'"),
        ("t.csv", b"text\n\xff\n", Columns(), "t.csv cannot be read"),
        ("t.jsonl", b"{\n", Columns(), "t.jsonl cannot be read"),
        ("t.jsonl", b"[1]\n", Columns(), "line 1 is no JSON object"),
        ("t.parquet", b"PAR?", Columns(), "t.parquet cannot be read"),
        ("cat.jpg", b"x", Columns(text="t"), "the input is no table"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, content: bytes, columns: Columns, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputsError, match=told):
        read(tmp_path / name, columns)


def test_a_pattern_that_fits_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputsError, match="there is no"):
        read(f"{tmp_path}/*.jpg")


def test_columns_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    far = pa.array([2**62], pa.timestamp("us"))  # a year that Python does not have
    pq.write_table(pa.table({"text": [b"Good."], "when": far}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == [Input("0", "Good.", None)]
    with pytest.raises(InputsError, match="cannot be read"):
        read(tmp_path / "t.parquet", Columns(id="when"))


def test_columns_of_one_name_are_refused_only_where_they_are_read(tmp_path: Path) -> None:
    values = [pa.array([value]) for value in ("Good.", "a", "b", 1, 2)]
    twice = pa.table(values, names=["text", "path", "path", "label", "label"])
    pq.write_table(twice, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == [Input("0", "Good.", None)]
    with pytest.raises(InputsError, match="the table has 2 columns 'label'"):
        read(tmp_path / "t.parquet", Columns(fields={"target_class": "label"}))


def test_a_column_of_lists_is_no_column_of_texts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [["a", "b"]]}), tmp_path / "t.parquet")
    with pytest.raises(InputsError, match="holds a list"):
        read(tmp_path / "t.parquet")


def test_cells_that_are_nested_without_end_stay_texts(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "t.csv").write_text(f"text,label\nGood.,{deep}\n")
    (found,) = read(tmp_path / "t.csv", Columns(fields={"target_class": "label"}))
    assert found.fields == {"target_class": deep}


def test_a_folder_within_it_can_be_left_out(tmp_path: Path) -> None:
    for name in ("a.txt", "out/b.txt", "out/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Good.")
    assert [one.id for one in read_inputs(str(tmp_path), Columns(), without=tmp_path / "out")] == ["a.txt"]
    assert left_out(str(tmp_path), without=tmp_path / "out") == 0
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert left_out(str(tmp_path), without=tmp_path / "link") == 0
