"""A network for archives that are made in a moment, and a way to damage one."""

import zipfile
from pathlib import Path

TINY = "resnet10t"
"""A network of timm that loads and computes in a moment."""


def rewrite(archive: Path, name: str, before: bytes, after: bytes) -> None:
    """Change what one file of an archive says."""
    with zipfile.ZipFile(archive) as whole:
        files = {part: whole.read(part) for part in whole.namelist() if not part.endswith("/")}
    assert before in files[name]
    files[name] = files[name].replace(before, after)
    with zipfile.ZipFile(archive, "w") as changed:
        for part, content in files.items():
            changed.writestr(part, content)
