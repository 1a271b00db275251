"""Without detectron2 everything but TensorMask works, and TensorMask says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from intgrads.archives.archive import write_archive
from intgrads.errors import CheckpointError
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.settings import Settings
from shared.detections import SHAPES, SHAPES_CONFIG
from shared.places import ROOT


@pytest.fixture
def no_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imports of detectron2 fail, as where it is not installed."""
    for name in list(sys.modules):
        if name.split(".")[0] == "detectron2":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.setitem(sys.modules, "detectron2.config", None)
    monkeypatch.delitem(sys.modules, "intgrads.detections.detectron", raising=False)


def order() -> Order:
    return Order("tensormask", None, None, Settings(), tensormask=SHAPES, tensormask_config=SHAPES_CONFIG)


@pytest.mark.usefixtures("no_detectron2")
def test_an_archive_with_a_tensormask_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"scripts/install_detectron2\.py"):
        write_archive(order(), tmp_path)


def test_an_archive_with_a_tensormask_does_not_load(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("detectron2")
    write_archive(order(), tmp_path)
    request.getfixturevalue("no_detectron2")
    with pytest.raises(ImportError, match="TensorMask needs detectron2"):
        Service.load(tmp_path, torch.device("cpu"))


def test_a_classifier_is_archived_and_answers(tmp_path: Path) -> None:
    """In a fresh process, where nothing of detectron2 can be imported from the start to the end."""
    program = f"""
import sys
for name in ("detectron2", "fvcore", "iopath", "omegaconf", "pycocotools", "yacs"):
    sys.modules[name] = None
sys.path[:0] = [{str(ROOT / "handler")!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
import timm, torch
from intgrads.archives.archive import write_archive
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.settings import Settings
from shared.toys import call, encoded, pixels, told
folder = Path({str(tmp_path)!r})
torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), folder / "w.pth")
settings = Settings.model_validate({{"input_size": "32,32", "n_steps": 2}})
write_archive(Order("timm:resnet10t", folder / "w.pth", ["cat", "dog"], settings), folder)
(reply,) = Service.load(folder, torch.device("cpu")).answer([call(data=encoded(pixels()), format="json")])
assert reply.status == 200 and told(reply)["evaluations"] == 4
print("it works")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("it works"), done.stderr
