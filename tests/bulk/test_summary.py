"""What a run is summed up in: counts, quantiles, the distribution and the worst, whatever a row has."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from intgrads.bulk.inputs import Input
from intgrads.bulk.rows import table_of
from intgrads.bulk.run import Run
from intgrads.bulk.store import BLOCK, Store
from intgrads.bulk.summary import report, summary

ROWS = 1100


def row(number: int) -> dict[str, Any]:
    if number % 100 == 7:
        return {"row": number, "id": f"i{number}", "status": "failed", "error_type": "EmptyText", "error": "is <empty>"}
    error = number / ROWS
    figures = {"attribution_error": error, "converged": error < 0.05, "evaluations": 9, "seconds": 0.5}
    return {"row": number, "id": f"i{number}", "status": "done", **figures}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return the folder of a run over two blocks, a row in a hundred failed."""
    store = Store(tmp_path_factory.mktemp("run"))
    store.write_inputs(Input(f"i{k}", "x", None) for k in range(ROWS))
    store.make()
    for block, rows in enumerate((range(BLOCK), range(BLOCK, ROWS))):
        store.write_part(block, pa.concat_tables([table_of(row(k), RUN, "pictures") for k in rows]), {})
        store.merge(block)
    return store


RUN = Run(model="m", archive="a", options={}, tensors=[], fields_of_rows=[], rows=ROWS, inputs="i")


def test_counts_quantiles_and_the_worst(store: Store) -> None:
    found = summary(store, RUN)
    errors = [k / ROWS for k in range(ROWS) if k % 100 != 7]
    assert (found.rows, found.done, found.failed) == (ROWS, len(errors), ROWS - len(errors))
    assert found.converged == sum(error < 0.05 for error in errors)
    assert found.attribution_error["largest"] == max(errors)
    assert math.isclose(found.attribution_error["median"], 0.5, abs_tol=0.01)
    assert sum(count for _, count in found.distribution) == len(errors)
    assert [one.row for one in found.worst] == list(range(1099, 1089, -1))
    assert [one.id for one in found.worst][:2] == ["i1099", "i1098"]
    assert found.evaluations == 9 * len(errors)
    assert [(one.type, one.count, one.id) for one in found.failures] == [("EmptyText", 11, "i7")]


def test_the_report_shows_them_and_escapes_what_inputs_say(store: Store) -> None:
    page = report(summary(store, RUN), RUN, {1099: "pages/1099.html"}, ["3 files were left out"])
    assert '<a href="pages/1099.html">i1099</a>' in page
    assert "i1098" in page
    assert "3 files were left out" in page
    assert "is &lt;empty&gt;" in page
    assert "http" not in page.split("</style>")[1]


def test_a_run_in_which_nothing_was_attributed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make()
    run = RUN.model_copy(update={"rows": 1})
    store.write_part(0, table_of(row(7), run, "pictures"), {})
    store.merge(0)
    found = summary(store, run)
    assert found.attribution_error == {}
    assert found.worst == []
    assert "Nothing was attributed" in report(found, run, {}, [])
