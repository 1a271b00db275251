"""The benchmarks run, and what they found is written as the docs' tables take it. No time is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_tables import MEASURED, RESULTS, figure, results, said_of
from on_paper import Given, on_paper
from shared.places import ROOT

RUN = ROOT / "benchmarks" / "run.py"


def run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(RUN), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "speed",
        "precision",
        "equal_error",
        "map_error",
        "saturation",
        "growth",
        "server",
        "soak",
        "faithfulness",
        "tensormask",
        "ray_serve",
        "bulk",
    ],
)
def test_the_smallest_cases_of_each_run_and_write_nothing(name: str) -> None:
    if name == "tensormask":
        pytest.importorskip("detectron2")
    before = {path: path.read_bytes() for path in RESULTS.iterdir()}
    assert f"{name}: " in run(name, "--tiny", "--rounds", "1")
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == before


@pytest.mark.slow
def test_an_older_processor_is_imitated() -> None:
    said = run("precision", "--tiny", "--rounds", "1", "--isa", "avx2")
    machine = json.loads(said.splitlines()[0].partition(": ")[2])
    assert machine["kind"] == "avx2"
    assert machine["capability"] == "AVX2"
    assert machine["limits"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_results_state_their_machine_and_fill_tables_of_the_docs(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["machine"]["processor"] in said_of(content["machine"])
    assert content["tables"].keys() & set(MEASURED)
    for name, rows in content["tables"].items():
        assert results(name)
        assert len({tuple(row) for row in rows}) <= 1, "all rows of a table have the same columns"


def test_a_large_run_on_paper() -> None:
    given = Given(rows=10_000, rate=10, input_bytes=100, row_bytes=10, tensor_bytes=70, disk=4_000, merge=0.5, load=20)
    found = on_paper(given, workers=2)
    assert found["chunks"] == 40  # of nine blocks four each, and of the last, of 784 rows, four
    assert found["hours"] == pytest.approx((3 * 20 + 10_000 / 20 + 256 / 10) / 3600)
    assert found["workers that fill the disk"] == pytest.approx(2)
    assert found["workers that fill the driver"] == pytest.approx(204.8)


def test_figures_are_told_with_their_spread() -> None:
    assert figure({"median": 2.94, "low": 2.8, "high": 3.1}) == "2.94 (2.8–3.1)"
    assert figure(None) == "–"
    assert figure(-0.5) == "−0.5"
    assert figure("bit-r50x1") == "bit-r50x1"
