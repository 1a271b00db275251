"""Install detectron2's Python part from PyPI: ``python scripts/install_detectron2.py``. Found, it is left alone.

PyPI has no official detectron2. What is installed here is **unofficial**: the Python files of ``sal-detectron2`` 0.7.2,
a third party's build of detectron2 as of April 2024 (Apache License 2.0), fetched by its hash. Its compiled part, made
for another Python, and its stray package ``tools`` are left out; nothing that TensorMask needs is in them. An official
detectron2 is used where one is installed: ``pip install --no-build-isolation
'git+https://github.com/facebookresearch/detectron2'``.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "sal-detectron2==0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
BUILT_FOR = "3.10"

VERSION = "0.7.2+python.only"
METADATA = f"""Metadata-Version: 2.1
Name: sal-detectron2
Version: {VERSION}
Summary: Unofficial: the Python part of a third party's detectron2, without its compiled extension
License: Apache-2.0
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: intgrads\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pip(*arguments: str) -> None:
    """Run pip in this environment."""
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments], check=True)


def repack(downloaded: Path, directory: Path) -> Path:
    """Write a wheel of a downloaded wheel's Python files, the data beside them and the license; return its path."""
    folder = f"sal_detectron2-{VERSION}.dist-info"
    made = directory / f"sal_detectron2-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(downloaded) as source:
        contents = {
            name: source.read(name)
            for name in sorted(source.namelist())
            if name.startswith("detectron2/") and not name.endswith((".so", "/"))
        }
        license_name = next(name for name in source.namelist() if name.endswith("dist-info/LICENSE"))
        contents[f"{folder}/LICENSE"] = source.read(license_name)
    contents |= {f"{folder}/METADATA": METADATA.encode(), f"{folder}/WHEEL": WHEEL.encode()}
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in contents.items()]
    contents[f"{folder}/RECORD"] = "".join([*record, f"{folder}/RECORD,,\n"]).encode()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in contents.items():
            wheel.writestr(name, content)
    return made


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main() -> int:
    """Install detectron2 where there is none, and return the exit status."""
    if find_spec("detectron2") is not None:
        print("detectron2 is installed")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        wanted = directory / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
        try:
            pip(
                "download", "--no-deps", "--only-binary=:all:", "--python-version", BUILT_FOR, "--require-hashes",
                "--requirement", str(wanted), "--dest", str(directory),
            )  # fmt: skip
            pip("install", "--no-deps", str(repack(next(directory.glob("*.whl")), directory)))
        except subprocess.CalledProcessError as error:
            print(f"detectron2 could not be installed (pip ended with {error.returncode}, above)", file=sys.stderr)
            return 1
    print(f"installed the Python part of {PACKAGE}, an unofficial build of detectron2")
    return 0


if __name__ == "__main__":
    sys.exit(main())
