"""A worker in a container takes as many threads as its share of the machine, not as the machine has cores."""

import os
from pathlib import Path

import pytest
from intgrads.speed import cores as module
from intgrads.speed.cores import cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand for a machine of 8 cores, on which this process is in the group ``pod/container``."""
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/other\n0::/pod/container\n")
    folder = tmp_path / "groups"
    (folder / "pod" / "container").mkdir(parents=True)
    monkeypatch.setattr(module, "OWN", own)
    monkeypatch.setattr(module, "GROUPS", folder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return folder


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("9900000 100000", 8),
     ("", 8), ("-1 0", 8), ("5 0", 8)],
)  # fmt: skip
def test_a_limit_of_time_counts_as_cores(groups: Path, limit: str, expected: int) -> None:
    (groups / "pod" / "container" / "cpu.max").write_text(limit)
    assert cores() == expected


def test_the_least_limit_counts_whichever_group_has_it(groups: Path) -> None:
    (groups / "pod" / "container" / "cpu.max").write_text("400000 100000\n")
    (groups / "pod" / "cpu.max").write_text("300000 100000\n")
    assert cores() == 3
    (groups / "cpu.max").write_text("100000 100000\n")
    assert cores() == 1


def test_a_container_that_sees_its_own_group_as_the_root(groups: Path) -> None:
    (groups.parent / "own").write_text("0::/\n")
    (groups / "cpu.max").write_text("200000 100000\n")
    assert cores() == 2


def test_without_control_groups_the_cores_that_it_may_run_on_count(groups: Path) -> None:
    (groups.parent / "own").unlink()
    assert cores() == 8


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8)])
def test_the_first_version_of_control_groups(groups: Path, quota: str, expected: int) -> None:
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores() == expected
