"""Masks and attributions of detections end to end: archives of TensorMask in a real TorchServe."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2")

from intgrads.archives.archiver import main
from intgrads.service import Service
from intgrads.serving.torchserve import TorchServe
from shapes import HELD_OUT, draw
from shared.detections import KINDS, SHAPES, SHAPES_CONFIG
from shared.places import SCRIPTS
from shared.serving import assert_refused, loaded, pids, post
from shared.toys import encoded

pytestmark = pytest.mark.server

NUMBER = next(k for k in range(1000) if len(set(draw(HELD_OUT + k).kinds.tolist())) == 3)
PICTURE = draw(HELD_OUT + NUMBER)
PNG = encoded(PICTURE.pixels)


def test_the_objects_of_a_picture_by_its_bytes(torchserve: TorchServe) -> None:
    reply = post(torchserve, "shapes", data=PNG, headers={"Content-Type": "image/png"})
    content = loaded(reply)
    assert set(content) == {"pred_masks", "scores", "pred_classes", "pred_boxes", "info"}
    count = len(content["scores"])
    assert count >= 2
    assert content["pred_masks"].shape == (count, 128, 128)
    for mask in content["pred_masks"].numpy():
        assert max((mask & true).sum() / (mask | true).sum() for true in PICTURE.masks) > 0.5
    assert {one["label"] for one in content["info"]["instances"]} <= set(KINDS)
    assert "X-Intgrads-Seconds" in reply.headers


def test_a_detection_is_attributed(torchserve: TorchServe) -> None:
    content = loaded(post(torchserve, "shapes", files={"data": PNG}, data={"target_instance": "0", "n_steps": "12"}))
    assert content["integrated_directional_grads"].shape == (12, 3, 128, 128)
    total = content["integrated_grads"].double().sum() - content["info"]["difference"]
    assert total.item() == pytest.approx(content["convergence_delta"].item(), abs=1e-3)
    logit = content["output"][0, content["target_class"]]
    assert logit.sigmoid().item() == pytest.approx(content["scores"][0].item(), abs=1e-5)


def test_a_mask_is_attributed(torchserve: TorchServe) -> None:
    ask = {"target_instance": "0", "target": "mask", "format": "json", "n_steps": "3"}
    answer = post(torchserve, "shapes", files={"data": PNG}, data=ask).json()
    assert answer["target_label"].startswith("mask of ")
    assert answer["evaluations"] == 5


def test_errors_leave_the_worker_alive(torchserve: TorchServe) -> None:
    before = pids(torchserve, "shapes")
    blank = encoded(np.full((64, 96, 3), 127, np.uint8))
    for picture, fields, code in (
        (PNG, {"target_instance": "77"}, 400),
        (blank, {"target_instance": "0", "score_threshold": "0.9"}, 422),
        (PNG, {"target": "box"}, 400),
        (b"no picture", {}, 415),
    ):
        reply = post(torchserve, "shapes", files={"data": picture}, data=fields | {"format": "json"})
        assert reply.status_code == code, reply.text
        assert_refused(reply, str(fields))
    nothing = post(torchserve, "shapes", files={"data": blank}, data={"score_threshold": "0.9", "format": "json"})
    assert nothing.json()["instances"] == []
    assert pids(torchserve, "shapes") == before


def test_pictures_for_people(torchserve: TorchServe) -> None:
    png = post(torchserve, "shapes", data=PNG, headers={"Content-Type": "image/png", "Accept": "image/png"})
    assert Image.open(io.BytesIO(png.content)).size == (320, 320)
    page = post(torchserve, "shapes", data=PNG, headers={"Content-Type": "image/png", "Accept": "text/html"})
    assert "The objects that were found" in page.text


def test_a_classifier_beside_a_tensormask(torchserve: TorchServe) -> None:
    content = loaded(post(torchserve, "scenes", files={"data": PNG}, data={"groups": "segments", "n_steps": "3"}))
    assert content["integrated_grads"].shape == (1, 3, 64, 64)
    assert len(content["pred_masks"]) == len(content["group_masks"]) - 1
    refused = post(torchserve, "scenes", files={"data": PNG}, data={"target_instance": "0"})
    assert (refused.status_code, refused.json()["field"]) == (400, "target_instance")


def test_archive_sh_makes_such_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(KINDS))
    files = ["--tensormask", str(SHAPES), "--tensormask-config", str(SHAPES_CONFIG)]
    assert main(["tensormask", *files, "--labels", str(labels), "--set", "score_threshold=0.3"], tmp_path) == 0
    assert (tmp_path / "intgrads.mar").is_file()
    capsys.readouterr()
    for arguments, message in (
        (["tensormask"], "--tensormask FILE"),
        (["tensormask", "--tensormask", str(SHAPES)], "missing: backbone"),
        (["tensormask", "--tensormask", str(tmp_path / "no.pkl")], "no such file"),
        (["tensormask", *files, "--weights", str(SHAPES)], "no --weights"),
        (["bert", "--weights", str(SHAPES), *files], "bert takes no --tensormask FILE"),
        (["tensormask", "--tensormask", str(SHAPES), "--tensormask-config", "no.yaml"], "no.yaml"),
    ):
        assert main([*arguments, "--name", "wrong"], tmp_path) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "wrong.mar").exists()


def test_a_tensormask_beside_a_classifier_has_labels_of_its_own(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "three.txt").write_text("\n".join(KINDS))
    (tmp_path / "two.txt").write_text("cat\ndog")
    files = ["--tensormask", str(SHAPES), "--tensormask-config", str(SHAPES_CONFIG), "--tensormask-labels"]
    classifier = ["timm:resnet10t", "--weights", str(tiny / "w.pth"), "--labels", str(tiny / "labels.txt")]
    assert main([*classifier, *files, str(tmp_path / "three.txt")], tmp_path / "store") == 0
    with zipfile.ZipFile(tmp_path / "store" / "intgrads.mar") as mar:
        mar.extractall(tmp_path / "mar")
    described = Service.load(tmp_path / "mar", torch.device("cpu")).describe()
    assert (described["segments"], described["labels"]) == (KINDS, ["cat", "dog", "horse"])
    for labels, message in ((tmp_path / "two.txt", "--tensormask-labels names 2"), (tmp_path / "no.txt", "no.txt")):
        assert main([*classifier, *files, str(labels)], tmp_path / "store") == 1
        assert message in capsys.readouterr().err
    twice = ["tensormask", *files, str(tmp_path / "three.txt"), "--labels", str(tmp_path / "three.txt")]
    assert main(twice, tmp_path / "store") == 1
    assert "not both" in capsys.readouterr().err


def test_the_scripts_of_the_repository_install_detectron2() -> None:
    """It is found here, and so nothing is downloaded."""
    script = SCRIPTS / "install_detectron2.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "detectron2 is installed" in done.stdout
