"""The README says what the code does: its settings, fields, formats and Python are checked against it."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from intgrads.detections.request import DetectionRequest
from intgrads.pictures.request import TENSOR_FIELDS
from intgrads.request import FORMATS
from intgrads.settings import Settings
from intgrads.texts.request import TextRequest
from shared.toys import call, encoded, pixels, small_network, small_service

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_listed_with_its_default(name: str) -> None:
    field = Settings.model_fields[name]
    assert f"| `{name}` | {field.default} | {field.description} |" in README


NAMES = [
    *DetectionRequest.model_fields,
    *TENSOR_FIELDS,
    *FORMATS,
    *TextRequest.model_fields,
    *TextRequest.tensors,
    *TextRequest.figures,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_and_format_is_listed(name: str) -> None:
    assert f"`{name}`" in README


def test_the_lines_that_open_an_answer_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = small_service().answer([call(data=bytearray(encoded(pixels())))])[0]
    (tmp_path / "cat.gzip").write_bytes(b"".join(answer.body))
    assert gzip.decompress((tmp_path / "cat.gzip").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(PYTHON[0].strip().splitlines()) <= 6
    exec(PYTHON[0], {})


def test_the_lines_for_a_notebook_run() -> None:
    import torch

    x = torch.rand(1, 3, 8, 10)
    places: dict[str, Any] = {"network": small_network(classes=4), "x": x, "baseline": torch.zeros_like(x)}
    exec(PYTHON[1], places)
    assert places["result"].converged.all()


def test_every_file_that_is_named_exists() -> None:
    for name in re.findall(r"(?:\./|`)([a-z_]+\.(?:sh|py|md|txt|properties))", README):
        if name not in {"labels.txt", "vocab.txt"}:
            assert (ROOT / name).is_file(), name
    for text in ("CONTRIBUTING.md", "README.md"):
        for place in re.findall(r"\]\((?!http|#)([^)]+)\)", (ROOT / text).read_text()):
            assert (ROOT / place).is_file(), place
