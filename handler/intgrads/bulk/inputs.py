"""What INPUT of a run holds: the files of a folder or a pattern, or the rows of a CSV, Parquet or JSONL."""

from __future__ import annotations

import csv
import glob
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from intgrads.call import MOST_BYTES
from intgrads.client.options import value_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".txt")
"""Files of a folder that are taken; of a pattern all are."""

LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv", ".parquet", *LINES)

Name = TypeVar("Name", str, Path)
"""Of a file."""

TEXT, PATH, ID = "text", "path", "id"
"""Columns that are looked for where none is named."""


class InputsError(ValueError):
    """INPUT cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are read.

    Attributes
    ----------
    text, path : str or None
        Of the texts, or of the paths of files, which start at the table's folder; by default the column of that name.
    id : str or None
        By default the column ``id``, or the row's number where there is none.
    fields : mapping of str to str
        From a field of requests to the column that has it for each row.
    """

    text: str | None = None
    path: str | None = None
    id: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes
    ----------
    id : str
    text : str or None
    path : str or None
        Of a file, where it is no text.
    fields : dict
        Of its request alone.
    """

    id: str
    text: str | None
    path: str | None
    fields: dict[str, Any] = field(default_factory=dict)

    def content(self) -> str | bytes:
        """Return its text, or the bytes of its file.

        Raises
        ------
        InputsError
            If there is no such file, or it is larger than a request may be.
        """
        if self.path is None:
            return self.text or ""
        try:
            # Not a pipe or a device, which may never end.
            if not Path(self.path).is_file():
                raise InputsError("there is no such file")
            if self.length > MOST_BYTES:
                raise InputsError(f"the file is larger than {MOST_BYTES // 2**20} MiB, the most that is taken")
            with Path(self.path).open("rb") as file:
                return file.read(MOST_BYTES)
        except OSError as error:
            raise InputsError(f"the file cannot be read: {error.strerror}") from None

    @property
    def length(self) -> int:
        """Characters of a text, or bytes of a file; 0 where that is not known."""
        if self.path is None:
            return len(self.text or "")
        try:
            return Path(self.path).stat().st_size
        except (OSError, ValueError):  # a path with a zero byte is a ValueError
            return 0


def read_inputs(source: str, columns: Columns, without: Path | None = None) -> Iterator[Input]:
    """Yield the inputs of a run, always in the same order.

    Parameters
    ----------
    source : str
        A folder, a pattern as ``photos/**/*.jpg``, a table (CSV, TSV, Parquet, JSONL), or one file.
    columns : Columns
        Of a table.
    without : Path, optional
        A folder of which no file is taken.

    Raises
    ------
    InputsError
        If there is nothing, or it cannot be read.
    """
    place = Path(source)
    if place.is_file() and place.suffix.lower() in TABLES:
        yield from _table(place, columns)
        return
    if columns != Columns():
        raise InputsError("columns are named, but the input is no table")
    if place.is_file():
        yield Input(place.name, None, str(place.absolute()))
        return
    found: Iterable[tuple[str, Path]]
    if place.is_dir():
        found = ((str(path.relative_to(place)), path) for path in _within(place, without) if _taken(path))
    else:
        found = ((name, Path(name)) for name in _matches(source, without))
    for id, path in found:
        yield Input(id, None, str(path.absolute()))


def left_out(source: str, without: Path | None = None) -> int:
    """Return how many files of a folder are neither pictures nor texts; those of another one are not counted."""
    place = Path(source)
    return sum(not _taken(path) for path in _within(place, without)) if place.is_dir() else 0


def _within(folder: Path, without: Path | None) -> Iterator[Path]:
    return _outside(sorted(path for path in folder.rglob("*") if path.is_file()), without)


def _matches(pattern: str, without: Path | None) -> Iterator[str]:
    files = [name for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]  # noqa: PTH207 - it may be absolute
    if not files:
        raise InputsError(f"there is no {pattern}: give a folder, a pattern in quotes, or a CSV, Parquet or JSONL")
    return _outside(files, without)


def _taken(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _outside(files: Sequence[Name], folder: Path | None) -> Iterator[Name]:
    """Return the files that do not lie in a folder, by whatever links they lead there."""
    real = None if folder is None else folder.resolve()
    return (file for file in files if real is None or not Path(file).resolve().is_relative_to(real))


def _table(place: Path, columns: Columns) -> Iterator[Input]:
    kind = place.suffix.lower()
    rows = _parquet(place, columns) if kind == ".parquet" else _jsonl(place) if kind in LINES else _csv(place, columns)
    try:
        for number, row in enumerate(rows):
            yield _input(row, columns, place.parent, number)
    except InputsError:
        raise
    except (ValueError, OverflowError, RecursionError, LookupError, csv.Error, pa.ArrowException) as error:
        # Of dates, zones, encodings and nesting that Python cannot hold.
        raise InputsError(f"{place.name} cannot be read: {error}") from None


def _input(row: Mapping[str, Any], columns: Columns, folder: Path, number: int) -> Input:
    """Return the input of a row of a table."""
    named, is_text = _named(columns, row)
    for column in (named, columns.id, *columns.fields.values()):
        # A later row of JSONL may lack what others have.
        if column is not None and column not in row and number == 0:
            hint = "; name the one of the texts by --text-column, or of the paths by --path-column"
            raise InputsError(
                f"the table has no column {column!r}, only {', '.join(map(repr, row))}{hint if column == named else ''}"
            )
    id = row.get(columns.id or ID)
    value = _words(row.get(named), named, number)
    return Input(
        id=str(number if id is None else id),
        text=value if is_text else None,
        path=None if is_text else str((folder / value).absolute()),
        fields={name: value_of(row[column]) for name, column in columns.fields.items() if row.get(column) is not None},
    )


def _words(value: Any, column: str, number: int) -> str:
    """Return a text, or a path, as a table has it."""
    if value is None or value != value:  # noqa: PLR0124 - a number that is none
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")  # what is no UTF-8 is refused with its row
    if isinstance(value, list | dict):
        raise InputsError(f"row {number}: {column!r} holds a {type(value).__name__}, not a text or a path")
    return str(value)


def _named(columns: Columns, names: Container[str]) -> tuple[str, bool]:
    """Return the column of a table's texts, or of its paths, and whether it is that of texts."""
    if columns.text is not None:
        return columns.text, True
    if columns.path is not None:
        return columns.path, False
    return (TEXT, True) if TEXT in names else (PATH, False)


def _wanted(columns: Columns, names: Sequence[str]) -> set[str]:
    """Return the columns that are read of a table that has some.

    Raises
    ------
    InputsError
        If one of them is there twice: which is meant cannot be told.
    """
    wanted = {_named(columns, names)[0], columns.id or ID, *columns.fields.values()}
    for name, count in Counter(names).items():
        if count > 1 and name in wanted:
            raise InputsError(f"the table has {count} columns {name!r}; give each a name of its own")
    return wanted


def _csv(place: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(2**31 - 1)
    with place.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t" if place.suffix.lower() == ".tsv" else ",")
        _wanted(columns, rows.fieldnames or ())
        for row in rows:
            # What is over comes under None.
            yield {name: value for name, value in row.items() if name is not None}


def _jsonl(place: Path) -> Iterator[dict[str, Any]]:
    with place.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InputsError(f"{place.name}: line {number + 1} is no JSON object")
                yield row


def _parquet(place: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    """Yield rows with the columns that are wanted; with all of them where there is none of these, to be told."""
    file = pq.ParquetFile(place)
    names = file.schema_arrow.names
    wanted = _wanted(columns, names)
    for batch in file.iter_batches(1024, columns=[name for name in names if name in wanted] or names):
        yield from batch.to_pylist()
