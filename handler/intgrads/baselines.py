"""Baselines as a request names them: one, or several, each by its name, at random, or as something that was sent.

What the names stand for is each kind's own: pictures/baselines.py, texts/baselines.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intgrads.errors import RequestError

UNIFORM, EXAMPLES, DATA = "uniform", "examples", "baseline_data"

SEVERAL = re.compile(rf"({UNIFORM}):([0-9]{{1,9}})|({EXAMPLES})(?::([0-9]{{1,9}}))?")
"""Names of several baselines at once: ``uniform:16``, ``examples``, ``examples:16``."""

SEEDS = 2**63
"""Seeds are below it."""

DRAWN = 16
"""Examples that are drawn where the request does not say how many; all of them where there are fewer."""


@dataclass(frozen=True)
class Start:
    """Where one path starts.

    Attributes
    ----------
    name : str
        As answers tell it: a baseline's name, ``baseline_data[0]``, or ``examples/`` with a file's name.
    seed : int or None
        Of one that is drawn at random.
    content : object, or None
        What the caller sent, or the path of an example; None of a baseline that its name says all about.
    """

    name: str
    seed: int | None = None
    content: Any = None


def starts(
    baseline: str | Sequence[str],
    data: Any,
    seed: int,
    *,
    random: Sequence[str],
    uniform: str,
    examples: Sequence[Path],
    most: int,
) -> list[Start]:
    """Return where the paths of a request start.

    Parameters
    ----------
    baseline : str or sequence of str
        As the request has it.
    data : object, or None
        The caller's own baselines, a list of several; they stand in place of `baseline`.
    seed : int
        Of the first random one of a ``uniform:N``; the next have the numbers that follow.
    random : sequence of str
        Names of the kind's random baselines.
    uniform : str
        The one of them that ``uniform:N`` draws.
    examples : sequence of Path
        Those of the archive.
    most : int
        Baselines of a request at most.

    Raises
    ------
    RequestError
        If there are too many, or examples are asked for that are not there.
    """
    if data is not None:
        if not isinstance(data, list):
            return [Start(DATA, content=data)]
        return _own(data)
    found = []
    for name in [baseline] if isinstance(baseline, str) else baseline:
        several = SEVERAL.fullmatch(name)
        if several is None:
            found.append(Start(name, seed if name in random else None))
            continue
        count = several[2] or several[4]
        wanted = min(DRAWN, len(examples), most) if count is None else int(count)
        if several[3] and not examples:
            raise RequestError("this archive has no examples; make one with ./archive.sh --examples DIR", "baseline")
        if several[3] and wanted > len(examples):
            raise RequestError(f"this archive has {len(examples)} examples, {name} asks for more", "baseline")
        if not 1 <= wanted + len(found) <= most or not wanted:
            raise RequestError(f"a request has 1 to {most} baselines; ask for so many", "baseline")
        if several[3]:
            drawn = np.random.default_rng(seed).permutation(len(examples))[:wanted]
            paths = [examples[place] for place in drawn.tolist()]
            found += [Start(f"{EXAMPLES}/{path.name}", seed, path) for path in paths]
        else:
            found += [Start(uniform, seed + place) for place in range(wanted)]
    twice = next((one.name for place, one in enumerate(found) if one in found[:place]), None)
    largest = max((one.seed for one in found if one.seed is not None), default=0)
    if largest >= SEEDS:
        raise RequestError(f"{baseline!r} needs seeds up to {largest}, beyond the largest, {SEEDS - 1}", "seed")
    if twice is not None:
        raise RequestError(f"{twice!r} is asked for twice; the same baseline again tells nothing new", "baseline")
    if len(found) > most:
        raise RequestError(f"a request has 1 to {most} baselines, got {len(found)}; ask for fewer", "baseline")
    return found


def _own(data: list[Any]) -> list[Start]:
    """Return where paths start that begin at the caller's own inputs."""
    for place, one in enumerate(data):
        if one is None:
            raise RequestError(f"number {place} of the list is null; send a baseline there, or leave it out", DATA)
        if one in data[:place]:
            raise RequestError(f"number {place} of the list is there twice; the same tells nothing new", DATA)
    return [Start(f"{DATA}[{place}]", content=one) for place, one in enumerate(data)]


def is_one_array(data: Any) -> bool:
    """Whether what a caller sent as a list of baselines is the array of a single picture: numbers of three axes."""
    for _ in range(3):
        if not isinstance(data, list) or not data:
            return False
        data = data[0]
    return not isinstance(data, list)


def is_several(baseline: str | Sequence[str], data: Any) -> bool:
    """Whether what a request says of baselines is a set of them, and the answer the mean over it; it may have one."""
    if data is not None:
        return isinstance(data, list)
    return not isinstance(baseline, str) or SEVERAL.fullmatch(baseline) is not None
