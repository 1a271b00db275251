"""Of the unofficial detectron2 only the files that TensorMask imports are taken, each by its hash."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import install_detectron2
import pytest
from shared.places import HANDLER

detectron2 = pytest.importorskip("detectron2")

SITE = Path(detectron2.__file__).parents[1]
UNOFFICIAL = next(SITE.glob("sal_detectron2-*.dist-info"), None)

pytestmark = pytest.mark.skipif(UNOFFICIAL is None, reason="an official detectron2 is installed")


def wheel(path: Path, **changes: bytes) -> Path:
    """Write a wheel with all that is installed, a compiled part and a command."""
    assert UNOFFICIAL is not None
    files = {name: (SITE / name).read_bytes() for name in install_detectron2.taken()}
    files |= {"detectron2/_C.so": b"compiled", "detectron2/tools.py": b"print()", "tools/a.py": b"print()"}
    files["sal_detectron2-0.7.2.dist-info/LICENSE"] = (UNOFFICIAL / "LICENSE").read_bytes()
    files |= {name.replace("__", "/") + ".py": content for name, content in changes.items()}
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def test_what_is_imported_is_what_is_listed() -> None:
    program = (
        "import sys, intgrads.detections.detectron, detectron2.checkpoint\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'detectron2' and m.__file__))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env={"PYTHONPATH": str(HANDLER)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {str(Path(name).relative_to(SITE)) for name in done.stdout.split()}
    assert found == set(install_detectron2.taken())


def test_what_is_installed_is_what_was_looked_at() -> None:
    for name, digest in install_detectron2.taken().items():
        assert hashlib.sha256((SITE / name).read_bytes()).hexdigest() == digest, name


def test_nothing_else_is_taken_of_the_wheel(tmp_path: Path) -> None:
    with zipfile.ZipFile(install_detectron2.repack(wheel(tmp_path / "w.whl"), tmp_path)) as made:
        names = {name for name in made.namelist() if ".dist-info/" not in name}
        assert {name.split("/")[1] for name in made.namelist() if ".dist-info/" in name} == {
            "LICENSE", "METADATA", "RECORD", "WHEEL",
        }  # fmt: skip
    assert names == set(install_detectron2.taken())


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    changed = wheel(tmp_path / "w.whl", detectron2__utils__registry=b"import os")
    with pytest.raises(ValueError, match=r"registry\.py is not the file that was looked at"):
        install_detectron2.repack(changed, tmp_path)
