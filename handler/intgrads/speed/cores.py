"""How many cores this process has: those that it may run on, and no more than its container's share of their time."""

from __future__ import annotations

import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
"""Where Linux tells of its control groups, by which containers are limited."""

OWN = Path("/proc/self/cgroup")
"""In which of them this process is."""


def cores() -> int:
    """Return how many cores this process has, at least 1.

    A container with 2 CPUs on a machine of 64 may run on all of them, for a 32nd of the time: of 64 threads most would
    be held up at each step, and the others would wait for them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([allowed, *_limits()])))


def _limits() -> list[float]:
    """Return the shares of time, in cores, of this process's control group and of those around it."""
    try:
        own = next(line[3:] for line in OWN.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        own = "/"
    place = GROUPS / own.lstrip("/")
    around = [place, *(parent for parent in place.parents if parent.is_relative_to(GROUPS))]
    second = [_read(group / "cpu.max") for group in around]
    first = _read(GROUPS / "cpu" / "cpu.cfs_quota_us") + _read(GROUPS / "cpu" / "cpu.cfs_period_us")
    found = []
    for words in (*second, first):
        # Without a limit it is "max", or -1 in the first version of control groups.
        if len(words) == 2 and all(word.isdigit() and int(word) > 0 for word in words):
            found.append(int(words[0]) / int(words[1]))
    return found


def _read(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
