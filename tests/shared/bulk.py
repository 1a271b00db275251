"""Runs over data sets: inputs for them, the command in a process of its own, and what it wrote."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow.parquet as pq

from shared.commands import intgrads

SUBJECTS = ("The camera", "This phone", "The battery", "A movie", "My hotel")
VERDICTS = ("good", "not good", "wonderful", "boring", "never dull")


def texts(count: int) -> list[str]:
    """Return so many texts of one to four sentences; all differ."""
    return [
        " ".join(f"{SUBJECTS[(k + s) % 5]} is {VERDICTS[(k // 5 + s) % 5]}." for s in range(1 + k % 4)) + f" {k}"
        for k in range(count)
    ]


def write_csv(place: Path, texts: Sequence[str], **columns: Sequence[Any]) -> Path:
    """Write a CSV with a column ``text`` and others."""
    with place.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", *columns])
        rows.writerows(zip(texts, *columns.values(), strict=True))
    return place


def bulk(source: Path, archive: Path, out: Path, *options: str) -> CompletedProcess[str]:
    """Run ``intgrads bulk`` to its end."""
    return intgrads("bulk", source, "--model", archive, "--out", out, *options)


def results(out: Path) -> list[dict[str, Any]]:
    """Return the rows that a run wrote."""
    rows: list[dict[str, Any]] = pq.read_table(out / "results").to_pylist()
    return rows
