"""An archive's data, unpacked once on a machine for all who serve it there. Of its code nothing is taken."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from filelock import FileLock

from intgrads.archives.names import MODEL_CONFIG
from intgrads.serving.archives import opened

DONE = "unpacked.json"
"""Written last: a folder without it was broken off."""


def unpacked(archive: Path) -> tuple[Path, dict[str, Any]]:
    """Return where an archive's files lie, and what its ``model-config.yaml`` says.

    They are unpacked again where the archive is another than it was. Python files are left out: the code that serves is
    the one that is installed.

    Raises
    ------
    OSError, ValueError
        If there is no such archive, it is damaged, or a name in it leads elsewhere.
    """
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:20]
    place = Path(tempfile.gettempdir()) / f"intgrads-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise OSError(f"{place} belongs to somebody else")
    directory = place / f"{archive.stem}-{key}"
    with FileLock(place / f"{archive.stem}-{key}.lock"):
        if not (directory / DONE).is_file():
            shutil.rmtree(directory, ignore_errors=True)
            _unpack(archive, directory)
            (directory / DONE).write_text(json.dumps({"archive": str(archive)}))
    config = yaml.safe_load((directory / MODEL_CONFIG).read_text())
    return directory, config if isinstance(config, dict) else {}


def _unpack(archive: Path, directory: Path) -> None:
    with opened(archive) as mar:
        for member in mar.infolist():
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{archive.name} has a file {member.filename!r} that lies outside of it")
            # The package and the handler are the installed ones; what else there is, is data.
            if path.suffix != ".py" and path.parts[0] != "intgrads":
                mar.extract(member, directory)
