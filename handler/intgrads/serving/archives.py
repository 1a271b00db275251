"""What an archive in the model store is: of which model, and whether it was made by the code that is here."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from intgrads.places import HANDLER, PACKAGE


def model_of(archive: Path) -> str | None:
    """Return the MODEL that an archive was made of; None where it does not say."""
    try:
        with zipfile.ZipFile(archive) as mar:
            return str(json.loads(mar.read("intgrads.json"))["model"])
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


def is_current(archive: Path) -> bool:
    """Whether an archive is there and newer than all of the code that it would hold."""
    code = max(path.stat().st_mtime for path in (HANDLER, *PACKAGE.rglob("*.py")))
    return archive.is_file() and archive.stat().st_mtime > code
