"""Install detectron2's Python part from PyPI: ``python scripts/install_detectron2.py``. Found, it is left alone.

PyPI has no official detectron2. What is installed here is **unofficial**: Python files of ``sal-detectron2`` 0.7.2,
a third party's build of detectron2 as of April 2024 (Apache License 2.0), fetched by its hash. Of its 306 files those
are taken that TensorMask imports, each by its own hash, which ``detectron2.sha256`` lists, and the licence; what was
compiled, its commands and its stray package ``tools`` are left out. docs/security.md says how they were looked at. An
official detectron2 is used where one is installed: ``pip install --no-build-isolation
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
FILES = Path(__file__).with_name("detectron2.sha256")
"""What is taken of it: lines of a hash and a path."""

LICENSE_SHA256 = "ceb78ee847e76f67a6a521a5732dc3373aed07eee003d738a572dc96705f08ff"

VERSION = "0.7.2+python.part"
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


def taken() -> dict[str, str]:
    """Return the files that are taken, and the hash of each."""
    lines = (line.split() for line in FILES.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in lines}


def repack(downloaded: Path, directory: Path) -> Path:
    """Write a wheel of those of a downloaded wheel's files that are taken, and its licence; return its path.

    Raises
    ------
    ValueError
        If one of them is not what it was.
    """
    folder = f"sal_detectron2-{VERSION}.dist-info"
    made = directory / f"sal_detectron2-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(downloaded) as source:
        license_name = next(name for name in source.namelist() if name.endswith("dist-info/LICENSE"))
        wanted = {name: (name, digest) for name, digest in taken().items()}
        wanted[f"{folder}/LICENSE"] = license_name, LICENSE_SHA256
        contents = {}
        for name, (origin, digest) in wanted.items():
            contents[name] = source.read(origin)
            if hashlib.sha256(contents[name]).hexdigest() != digest:
                raise ValueError(f"{origin} is not the file that was looked at; nothing is installed")
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
        except ValueError as error:
            print(f"detectron2 was not installed: {error}", file=sys.stderr)
            return 1
    print(f"installed the Python part of {PACKAGE}, an unofficial build of detectron2")
    return 0


if __name__ == "__main__":
    sys.exit(main())
