"""A network whose outputs are not one logit for each label is told as it is loaded, not by each request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from intgrads.archives.archive import open_archive, write_archive
from intgrads.archives.names import LABELS
from intgrads.networks.family import Order
from intgrads.networks.timm_classifiers import TimmClassifiers
from intgrads.settings import Settings
from shared.archives import TINY
from torch import Tensor, nn

SETTINGS = Settings.model_validate({"input_size": "32,32", "operators": "plain"})


@pytest.fixture
def archive(tiny: Path, tmp_path: Path) -> Path:
    write_archive(Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], SETTINGS), tmp_path)
    return tmp_path


def other(change: Callable[[Tensor], Any]) -> type[nn.Module]:
    """Return the network TINY, of which something else comes out."""
    base: type[nn.Module] = type(timm.create_model(TINY, num_classes=3))

    class Other(base):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Any:
            return change(super().forward(x))

    return Other


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda logits: (logits, logits), "gives tuple"),
        (lambda logits: {"logits": logits}, "gives dict"),
        (lambda logits: logits[:, :2], r"gives a tensor of shape \(1, 2\)"),
        (lambda logits: logits[..., None], r"gives a tensor of shape \(1, 3, 1\)"),
    ],
)
def test_a_network_that_gives_something_else(
    change: Callable[[Tensor], Any], said: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TimmClassifiers.build

    def changed(self: TimmClassifiers, architecture: dict[str, Any]) -> nn.Module:
        module = build(self, architecture)
        module.__class__ = other(change)
        return module

    monkeypatch.setattr(TimmClassifiers, "build", changed)
    with pytest.raises(ValueError, match=said):
        open_archive(archive)


def test_labels_that_are_too_few(archive: Path) -> None:
    (archive / LABELS).write_text(json.dumps(["cat", "dog"]))
    with pytest.raises(ValueError, match="logits of its 2 labels"):
        open_archive(archive)
