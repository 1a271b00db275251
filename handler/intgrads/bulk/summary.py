"""What became of a run: counts, the distribution of errors, the worst inputs, and a page that shows them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from intgrads.bulk.run import DONE, Run
from intgrads.bulk.store import Store, whole
from intgrads.pages.page import report_page

WORST = 10
"""Inputs with the largest errors of their maps that are shown."""

QUANTILES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "largest": 1.0}

EDGES = np.array([0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, np.inf])
"""Of the bars of the distribution."""

COLUMNS = ("row", "id", "status", "error_type", "error", "attribution_error", "converged", "evaluations", "seconds")


@dataclass(frozen=True)
class Worst:
    """One of the inputs with the largest errors."""

    row: int
    id: str
    attribution_error: float


@dataclass(frozen=True)
class Failure:
    """A kind of error, how many inputs had it, and the message of one of them."""

    type: str
    count: int
    id: str
    message: str


@dataclass(frozen=True)
class Summary:
    """What became of a run.

    Attributes
    ----------
    model : str
    rows, done, failed : int
    converged : int
        Of those that are done.
    attribution_error : dict of str to float
        Quantiles; empty where nothing was attributed.
    distribution : list of (str, int)
        How many maps have errors in some ranges.
    evaluations : int
        In all.
    seconds : float
        That workers took in all.
    failures : list of Failure
        The commonest first.
    worst : list of Worst
        The worst first.
    """

    model: str
    rows: int
    done: int
    failed: int
    converged: int
    attribution_error: dict[str, float]
    distribution: list[tuple[str, int]]
    evaluations: int
    seconds: float
    failures: list[Failure]
    worst: list[Worst]

    def write(self, store: Store) -> None:
        """Write it as JSON."""
        with whole(store.summary) as place:
            place.write_text(self._to_json(), encoding="utf-8")

    def is_written(self, store: Store) -> bool:
        """Whether it is what the folder of a run tells."""
        return store.summary.exists() and store.summary.read_text(encoding="utf-8") == self._to_json()

    def _to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def summary(store: Store, run: Run) -> Summary:
    """Return what became of a run."""
    errors, rows = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    converged = evaluations = done = failed = 0
    seconds, failures, examples, ids = 0.0, Counter[str](), dict[str, tuple[str, str]](), dict[int, str]()
    for batch in ds.dataset(store.results, format="parquet").to_batches(columns=list(COLUMNS)):
        held = {name: batch.column(name).to_pylist() for name in COLUMNS}
        of_batch = np.array([_largest_error(error) for error in held["attribution_error"]])
        errors.append(of_batch)
        rows.append(np.array(held["row"], dtype=np.int64))
        # The ids of those alone that may be among the worst of all.
        ids |= {held["row"][k]: held["id"][k] for k in _largest(of_batch)}
        good = [status == DONE for status in held["status"]]
        done += sum(good)
        failed += len(good) - sum(good)
        converged += sum(bool(np.all(one)) for one, fine in zip(held["converged"], good, strict=True) if fine)
        evaluations += sum(filter(None, held["evaluations"]))
        seconds += sum(filter(None, held["seconds"]))
        for type, message, id in zip(held["error_type"], held["error"], held["id"], strict=True):
            if type is not None:
                failures[type] += 1
                examples.setdefault(type, (id, message))
    all_errors, all_rows = np.concatenate(errors), np.concatenate(rows)
    known = all_errors[~np.isnan(all_errors)]
    return Summary(
        model=run.model,
        rows=run.rows,
        done=done,
        failed=failed,
        converged=converged,
        attribution_error={name: float(np.quantile(known, q)) for name, q in QUANTILES.items()} if len(known) else {},
        distribution=_distribution(known),
        evaluations=evaluations,
        seconds=seconds,
        failures=[Failure(type, count, *examples[type]) for type, count in failures.most_common()],
        worst=[Worst(int(all_rows[k]), ids[int(all_rows[k])], float(all_errors[k])) for k in _largest(all_errors)],
    )


def _largest_error(error: Any) -> float:
    """Return the largest error of the maps of a row; not a number where it has none."""
    errors = np.ravel(np.array(np.nan if error is None else error, dtype=float))
    return float(np.max(errors)) if len(errors) else float("nan")


def _largest(errors: NDArray[np.float64]) -> list[int]:
    """Return the places of the largest errors, the largest first; what has none is left out."""
    order = np.argsort(-errors, kind="stable")  # what is no number comes last
    return [int(k) for k in order[:WORST] if not np.isnan(errors[k])]


def _distribution(errors: NDArray[np.float64]) -> list[tuple[str, int]]:
    counts, _ = np.histogram(errors, EDGES)
    names = [f"up to {100 * edge:g} %" for edge in EDGES[1:-1]] + [f"over {100 * EDGES[-2]:g} %"]
    return list(zip(names, counts.tolist(), strict=True))


def report(summary: Summary, run: Run, pages: Mapping[int, str], notes: Sequence[str]) -> str:
    """Return the page about a run, given where the pages about single inputs lie, and what is to be told besides."""
    facts: list[tuple[str, Any]] = [
        ("inputs", f"{summary.rows:,}"),
        ("asked", json.dumps(run.options, ensure_ascii=False) if run.options else "what is asked by default"),
        ("answered", f"{summary.done:,}"),
        ("failed", f"{summary.failed:,}"),
        ("converged", f"{summary.converged:,} of {summary.done:,}"),
        *((f"error of the map, {name}", f"{error:.2%}") for name, error in summary.attribution_error.items()),
        ("evaluations", f"{summary.evaluations:,}"),
        ("seconds of all workers", f"{summary.seconds:,.1f}"),
    ]
    most = max((count for _, count in summary.distribution), default=0)
    bars = [(name, count, 100 * count / most if most else 0) for name, count in summary.distribution]
    worst = [(one.row, one.id, f"{one.attribution_error:.2%}", pages.get(one.row)) for one in summary.worst]
    failures = [asdict(one) for one in summary.failures]
    return report_page(summary.model, facts, bars=bars, worst=worst, failures=failures, notes=notes)
