"""Examples of an archive: inputs that ``baseline=examples`` draws from, checked when it is made, stored as given."""

from __future__ import annotations

from pathlib import Path

from intgrads.errors import CheckpointError, RequestError
from intgrads.kinds import Kind
from intgrads.settings import Settings

MOST, MOST_BYTES = 1000, 200 * 2**20
"""Examples of an archive, and what they may take together: each worker's machine unpacks them."""


def write_examples(folder: Path, target: Path, kind: Kind, settings: Settings) -> str:
    """Copy the examples of a folder into an archive's own; return what is told of them.

    Hidden files and folders are passed over. Nothing of a file is run: pictures are decoded, and texts are read.

    Raises
    ------
    CheckpointError
        If there is no such folder, nothing in it, too much, or a file that this kind of archive does not take.
    """
    if not folder.is_dir():
        raise CheckpointError(f"--examples {folder}: no such folder")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not 1 <= len(files) <= MOST:
        raise CheckpointError(f"--examples {folder} holds {len(files)} files; give 1 to {MOST}")
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        raise CheckpointError(
            f"--examples {folder} takes {size / 2**20:.0f} MB; {MOST_BYTES // 2**20} at most: fewer ones, or smaller"
        )
    target.mkdir()
    for path in files:
        data = path.read_bytes()
        try:
            kind.check_example(data, settings)
        except RequestError as error:
            raise CheckpointError(f"--examples: {path}: {error}") from None
        (target / path.name).write_bytes(data)
    return f"{len(files)} examples, {size / 2**20:.1f} MB"
