"""Make a certificate of this machine by openssl, for trials of TLS: ``python scripts/certificate.py [FOLDER]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def make(folder: Path) -> tuple[Path, Path]:
    """Write ``certificate.pem`` and ``key.pem`` (PKCS #8, as TorchServe reads it) and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost",
        "-addext", NAMES, "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


def main() -> int:
    """Make them where the caller says, or in ``.run/tls``."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".run/tls")
    certificate, key = make(folder)
    print(f"{certificate} and {key}, for localhost and for 30 days; nobody vouches for it: curl --cacert {certificate}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
