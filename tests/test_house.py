"""The tests stand as the package does, and none leans on another."""

import ast
from pathlib import Path

import pytest
from shared.places import HANDLER, ROOT

TESTS = ROOT / "tests"
MODULES = {str(path.relative_to(TESTS)): path for path in TESTS.rglob("*.py")}
OF_THEIR_OWN = {"containers", "documents", "server", "shared"}
"""Folders that mirror none of the package's: containers, the documents, a real TorchServe, and what tests share."""


def imported(module: Path) -> set[str]:
    """Return the parts of the names of the modules that a file imports, and of what it takes from them."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return {part for name in names for part in name.split(".")}


@pytest.mark.parametrize("module", MODULES)
def test_no_file_imports_a_test_module(module: str) -> None:
    """What two test modules need lies in ``tests/shared``; a fixture comes by its name from ``conftest.py``."""
    tests = {path.stem for path in MODULES.values() if path.stem.startswith("test_")} | {"conftest"}
    assert not imported(MODULES[module]) & tests


def test_every_folder_of_tests_is_one_of_the_package() -> None:
    folders = {path.parent.name for path in MODULES.values() if path.parent != TESTS}
    rooms = {path.parent.name for path in (HANDLER / "intgrads").glob("*/__init__.py")}
    assert folders - OF_THEIR_OWN == rooms
