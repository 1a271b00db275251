"""Exit with 0 where a Java that TorchServe can use is on PATH or at JAVA_HOME; with 1 where pip has to bring one.

Needs nothing but Python: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

LEAST = 17


def version(java: str) -> int:
    """Return the major version of a ``java``; 0 where there is none."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0


def suitable() -> bool:
    """Whether TorchServe's own look-up, JAVA_HOME and then PATH, finds a Java that is new enough."""
    home = os.environ.get("JAVA_HOME")
    return version(f"{home}/bin/java" if home else "java") >= LEAST


if __name__ == "__main__":
    sys.exit(not suitable())
