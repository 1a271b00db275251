"""Which way of computing a layer is fastest on this machine: measured where it runs, once a server, and kept.

Processors differ, and so do the libraries that PyTorch was built with: a product that takes half the time on one takes
twice the time on another. Each layer is therefore timed at a shape that it will see, in every way that is the same
function of the same numbers. The plain way comes first and stays unless another is faster by a clear margin. The choice
decides how sums are rounded, so that all workers of a server share one: the first to load writes it down.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock

logger = logging.getLogger(__name__)

FILE = "operators.json"
"""In the folder of an unpacked archive, which all its workers share."""

MARGIN = 1.1
"""How many times as fast another way must be than the best before it, which is simpler or takes less memory."""

ROUNDS = 5
"""Times each way is run, in turns; the least time counts."""

ENOUGH = 0.3
"""Seconds after which a question is settled, if each way was run twice."""

Operators = Literal["measured", "plain"] | dict[str, str]
"""What an archive's setting says: measure, take every layer as PyTorch has it, or the choices of another server."""


class Choices:
    """The ways that were chosen, by the question that each answers.

    Parameters
    ----------
    made : mapping of str to str, optional
        Those made already.
    measure : bool, default True
        Whether to measure what is not among them; if not, it is computed the plain way.
    """

    def __init__(self, made: Mapping[str, str] | None = None, measure: bool = True) -> None:
        self.made = dict(made or {})
        self.measure = measure

    def fastest(self, question: str, ways: Mapping[str, Callable[[], object]]) -> str:
        """Return the name of the way to take.

        Parameters
        ----------
        question : str
            Names the layer and the shape that it sees.
        ways : mapping of str to callable
            Each computes the same. The plain one first; of the others, those that cost more memory last.
        """
        names = list(ways)
        if self.made.get(question) in names:
            return self.made[question]
        chosen = names[0]
        if self.measure and len(names) > 1:
            seconds = dict.fromkeys(names, float("inf"))
            spent = 0.0
            for rounds in range(ROUNDS):
                for name, way in ways.items():
                    started = time.perf_counter()
                    way()
                    taken = time.perf_counter() - started
                    seconds[name] = min(seconds[name], taken)
                    spent += taken
                if rounds and spent > ENOUGH:
                    break
            for name in names[1:]:
                if seconds[name] * MARGIN < seconds[chosen]:
                    chosen = name
            told = ", ".join(f"{name} {1e3 * least:.2f} ms" for name, least in seconds.items())
            logger.info("%s: %s (%s)", question, chosen, told)
            self.made[question] = chosen
        return chosen


@contextmanager
def shared_choices(directory: Path, operators: Operators) -> Iterator[Choices]:
    """Give the choices of a server: those that its first worker wrote down, or to be made and written down now.

    Parameters
    ----------
    directory : Path
        Of the unpacked archive. Other workers wait until the choices are made.
    operators : str or dict
        The archive's setting.
    """
    if operators == "plain" or isinstance(operators, dict):
        yield Choices(operators if isinstance(operators, dict) else None, measure=False)
        return
    path, lock = directory / FILE, FileLock(directory / f"{FILE}.lock")
    try:
        lock.acquire()
    except OSError as error:  # a folder that cannot be written
        logger.warning("the fastest ways are measured for this worker alone: %s", error)
        yield Choices()
        return
    try:
        if path.is_file():
            lock.release()
            yield Choices(json.loads(path.read_text(encoding="utf-8")), measure=False)
        else:
            choices = Choices()
            yield choices
            _write(path, json.dumps(choices.made, indent=1))
    finally:
        lock.release()


def _write(path: Path, text: str) -> None:
    """Write a file at once: a worker that is killed while it writes leaves none, or a whole one."""
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:  # the disk is full
        logger.warning("the fastest ways are measured anew by each worker: %s", error)
