"""The notebooks run from their first cell to their last, and show what they say."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from intgrads.serving.torchserve import TorchServe
from nbclient import NotebookClient
from shared.places import HANDLER, ROOT

NOTEBOOKS = ROOT / "notebooks"


def run(name: str, patch: pytest.MonkeyPatch, **environment: str) -> Any:
    """Run a notebook as it is; a cell that fails raises."""
    for key, value in {"PYTHONPATH": str(HANDLER), **environment}.items():
        patch.setenv(key, value)
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)  # type: ignore[no-untyped-call]
    return NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()


def shown(notebook: Any, kind: str) -> list[str]:
    """Return what its cells show of a kind."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_library_on_any_module(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run("library.ipynb", monkeypatch)
    assert len(shown(notebook, "image/png")) == 2
    assert printed(notebook).count("converged: True") == 2
    assert "torch.Size([2," in printed(notebook)
    assert " True" in printed(notebook)


@pytest.mark.server
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_client_and_groups_of_a_parsed_sentence(torchserve: TorchServe, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run("client.ipynb", monkeypatch, INTGRADS_URL=torchserve.url)
    assert "<table>" in shown(notebook, "text/html")[0]
    assert len(shown(notebook, "image/png")) == 1
    assert "tiger cat" in printed(notebook)
    phrases = [line for line in printed(notebook).splitlines() if "IDG" in line]
    assert len(phrases) == 8
    assert phrases[0].endswith("S The camera of this phone is not good.")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_committed_as_it_ran(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    assert all(cell.outputs for cell in notebook.cells if cell.cell_type == "code" and not cell.source.startswith("#"))
    assert "Traceback" not in printed(notebook)
