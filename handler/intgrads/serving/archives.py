"""What an archive is: of which model, with which data, and whether it was made by the code that is here."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intgrads.archives.names import MANIFEST
from intgrads.places import HANDLER, PACKAGE


def model_of(archive: Path) -> str | None:
    """Return the MODEL that an archive was made of; None where it does not say."""
    try:
        with zipfile.ZipFile(archive) as mar:
            return str(json.loads(mar.read(MANIFEST))["model"])
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


@contextmanager
def opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, to read in it.

    Raises
    ------
    OSError, ValueError
        If it is none, or damaged where it is read, or there is none.
    """
    if not archive.exists():
        raise ValueError(f"there is no {archive.name} in {archive.parent.absolute()}; make it by `intgrads archive`")
    try:
        with zipfile.ZipFile(archive) as mar:
            yield mar
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive.name} is no archive, or a damaged one: {error}") from None


def digest_of_archive(archive: Path) -> str:
    """Return a digest of an archive's data. Its code, and when it was made, play no part.

    Raises
    ------
    OSError, ValueError
        As :func:`opened`.
    """
    with opened(archive) as mar:
        members = sorted(
            (one.filename, one.CRC, one.file_size)
            for one in mar.infolist()
            if not one.filename.endswith(".py") and not one.filename.startswith("MAR-INF")
        )
    return hashlib.sha256(json.dumps(members).encode()).hexdigest()


def is_current(archive: Path) -> bool:
    """Whether an archive is there and newer than all of the code that it would hold."""
    code = max(path.stat().st_mtime for path in (HANDLER, *PACKAGE.rglob("*.py")))
    return archive.is_file() and archive.stat().st_mtime > code
