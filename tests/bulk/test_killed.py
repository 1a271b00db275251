"""Whatever ends a run, no finished row is lost and none is computed twice: a worker, the driver, a node."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from shared.bulk import bulk, results, texts, write_csv
from shared.commands import ENVIRONMENT, SECONDS, running, wait_for

pytestmark = pytest.mark.server

ROWS = 64


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of texts."""
    return write_csv(tmp_path_factory.mktemp("source") / "texts.csv", texts(ROWS))


def finished(out: Path) -> dict[int, float]:
    """Return the rows on the disk, and the seconds that each took: others, had it been computed again."""
    while True:
        files = [*out.glob("results/*.parquet"), *out.glob("parts/*.parquet")]
        with suppress(FileNotFoundError):  # parts were merged meanwhile
            tables = [pq.read_table(file, columns=["row", "seconds"]).to_pylist() for file in files]
            return {row["row"]: row["seconds"] for table in tables for row in table}


def all_there(out: Path) -> None:
    found = results(out)
    assert [row["row"] for row in found] == list(range(ROWS))
    assert {row["status"] for row in found} == {"done"}


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for one in process.children(recursive=True):
        try:
            if "MapWorker" in " ".join(one.cmdline()):
                found.append(one)
        except psutil.Error:
            continue
    return found


def test_a_worker_and_then_the_driver_are_killed(source: Path, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--field", "n_steps=10", "--workers", "2", "--cpus", "1"]
    with running("bulk", source, "--model", archive, "--out", out, *options) as process:
        driver = psutil.Process(process.pid)
        wait_for(lambda: len(finished(out)) > 8 and workers_of(driver))
        workers_of(driver)[0].kill()
        before = len(finished(out))
        wait_for(lambda: len(finished(out)) > before + 8)
        workers = workers_of(driver)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
    kept = finished(out)
    assert 16 < len(kept) < ROWS
    run = bulk(source, archive, out, *options)
    assert run.returncode == 0, run.stderr
    assert f"{ROWS} inputs, of which {len(kept)} are finished" in run.stderr
    all_there(out)
    after = finished(out)
    assert {row: after[row] for row in kept} == kept


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
other = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(other, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


def test_a_node_of_two_is_killed(source: Path, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    environment = {**ENVIRONMENT, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CLUSTER], env=environment, text=True, **pipes) as cluster:  # type: ignore[call-overload]
        try:
            address = next(line for line in cluster.stdout if line.startswith("1")).strip()
            options = ["--field", "n_steps=10", "--workers", "2", "--cpus", "1", "--address", address]
            command = ["bulk", source, "--model", archive, "--out", out, *options]
            with running(*command, env=environment) as process:
                both = psutil.Process(cluster.pid)
                wait_for(lambda: len(finished(out)) > 8 and len(workers_of(both)) == 2)
                cluster.stdin.write("kill it\n")
                cluster.stdin.flush()
                assert any("removed" in line for line in cluster.stdout)
                assert len(finished(out)) < ROWS
                _, told = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, told
            all_there(out)
        finally:
            cluster.stdin.close()
            cluster.wait(60)
