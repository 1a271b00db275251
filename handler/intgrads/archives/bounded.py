"""``archive.sh`` in a process that may take so much memory and time: files of strangers can be made to take all.

Nothing that is read is run, and what is known to hurt is refused where it is read. This is for the rest: regular
expressions that never end, sizes in the billions, and what nobody has thought of yet.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

GIB = 2**30
MEMORY, SECONDS = 4 * GIB, 60
"""Bytes, and seconds of a processor, that an archive of small files may take."""

MEMORY_OF_A_BYTE, SECONDS_OF_A_GIB = 8, 120
"""What may come on top, by the size of the files that are named."""

INTERRUPTED = "archive.sh: interrupted; no archive was written"

WITHIN = """
import signal, sys
try:
    from intgrads.archives import archiver, bounded
except KeyboardInterrupt:
    # Nothing is begun yet: it ends by the signal, without a traceback, and who waits for it says so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)
memory, seconds, *arguments = sys.argv[1:]
bounded.bound(int(memory), int(seconds))
sys.exit(archiver.main(arguments))
"""
"""What the process runs."""


def sizes(arguments: Sequence[str]) -> Iterator[int]:
    """Yield the sizes of the files that arguments name, and of those in folders that they name.

    Counted is what lies on the disk: a file that states more than it holds gets no more for it.
    """
    for argument in arguments:
        path = Path(argument.removeprefix("hf:"))
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                state = file.stat()
                yield min(state.st_size, 512 * state.st_blocks)


def bound(memory: int, seconds: int) -> None:
    """Bound this process: memory of its own in bytes, and a processor's seconds, at which it ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the archiver within bounds and return its exit status; say so where they ended it."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    size = sum(sizes(arguments))
    memory = MEMORY + MEMORY_OF_A_BYTE * size
    seconds = SECONDS + SECONDS_OF_A_GIB * size // GIB
    # Of its own, so that nothing is left where it is ended in the midst.
    with tempfile.TemporaryDirectory(prefix="archive-") as temporary:
        status, interrupted = _ended(
            subprocess.Popen(
                [sys.executable, "-c", WITHIN, str(memory), str(seconds), *arguments],
                env={**os.environ, "TMPDIR": temporary},
            )
        )
    if status == -signal.SIGINT or (interrupted and status not in (0, 130)):
        print(INTERRUPTED, file=sys.stderr)
        return 130
    if status >= 0:
        return status
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        said = f"it was not done after {seconds} s of a processor's time"
    else:
        said = (
            f"it broke down ({signal.Signals(-status).name}), perhaps as it may take {memory / GIB:.0f} GiB of memory"
        )
    print(
        f"archive.sh: {said}, which is plenty for files of this size: one of them is damaged, or made to hurt; look at "
        "where it comes from",
        file=sys.stderr,
    )
    return 1


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, bool]:
    """Wait for a process; return its exit status, and whether Ctrl-C was heard: it hears that itself, and clears up."""
    interrupted = False
    while True:
        try:
            return process.wait(), interrupted
        except KeyboardInterrupt:
            interrupted = True


if __name__ == "__main__":
    sys.exit(main())
