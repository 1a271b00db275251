"""The client is light: importing it brings no PyTorch and nothing else that takes seconds; so does the command."""

import subprocess
import sys

import pytest
from shared.places import HANDLER

HEAVY = {"matplotlib", "pydantic", "scipy", "skimage", "timm", "torch", "torchvision", "transformers"}

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import {module}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


@pytest.mark.parametrize("module", ["intgrads.client", "intgrads.command.main"])
def test_nothing_heavy_is_imported(module: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(module=module), str(HANDLER)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {"httpx", "intgrads", "numpy"} <= imported
    assert imported & HEAVY == set()
