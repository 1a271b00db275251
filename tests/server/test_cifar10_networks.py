"""BiT and LaNet end to end: from a checkpoint's file through TorchServe to attributions."""

import gzip
import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from intgrads.archives import archiver
from intgrads.labels import CIFAR10
from intgrads.networks import bit, lanet
from intgrads.serving.torchserve import TorchServe, free_ports
from PIL import Image
from shared.networks import random_bit, random_lanet
from shared.places import ROOT

CAT = ROOT / "examples" / "cat.jpg"

pytestmark = pytest.mark.server


def ask(server: TorchServe, model: str, **options: Any) -> requests.Response:
    reply = requests.post(f"{server.url}/predictions/{model}", timeout=600, **options)
    assert reply.status_code == 200, reply.text[:500]
    return reply


def airplane(picture: Path, directory: Path, archive: Path) -> bytes:
    """Return what ``prepare_input.py PICTURE airplane OUT.json`` writes."""
    out = directory / "input.json"
    command = [ROOT / "prepare_input.py", "--archive", archive, picture, "airplane", out]
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
    return out.read_bytes()


@pytest.mark.parametrize("model", ["bit", "lanet"])
def test_a_picture_and_a_label_of_cifar10(torchserve: TorchServe, model: str, tmp_path: Path) -> None:
    archive = torchserve.directory / "model_store" / f"{model}.mar"
    body = airplane(CAT, tmp_path, archive)
    reply = ask(torchserve, model, data=body, headers={"Content-Type": "application/json; chartset=utf-8"})
    content = torch.load(io.BytesIO(gzip.decompress(reply.content)), weights_only=True)
    assert content["integrated_grads"].shape == (1, 3, 32, 32)
    assert content["integrated_directional_grads"].shape == content["intermediates"].shape == (50, 3, 32, 32)
    assert content["output"].shape == (1, 10)
    assert content["target_class"] == 0
    info = content["info"]
    assert info["target_label"] == "airplane"
    assert info["prediction"]["label"] in CIFAR10
    assert any("32 × 32" in warning for warning in info["warnings"])
    total = content["integrated_grads"].double().sum() - info["difference"]
    assert total.item() == pytest.approx(content["convergence_delta"].item(), abs=1e-3)


@pytest.mark.parametrize("model", ["bit", "lanet"])
@pytest.mark.parametrize("size", [(32, 32), (7, 200), (640, 480)])
def test_the_heat_map_has_the_pictures_size(torchserve: TorchServe, model: str, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.open(CAT).resize(size).save(buffer, "PNG")
    form = {"format": "png", "n_steps": "2", "target_class": "truck"}
    reply = ask(torchserve, model, files={"data": buffer.getvalue()}, data=form)
    assert Image.open(io.BytesIO(reply.content)).size == size


@pytest.mark.parametrize("model", ["bit", "lanet"])
def test_a_label_that_is_not_cifar10s_is_told_of(torchserve: TorchServe, model: str) -> None:
    form = {"target_class": "tabby"}
    reply = requests.post(
        f"{torchserve.url}/predictions/{model}", files={"data": CAT.read_bytes()}, data=form, timeout=60
    )
    assert reply.status_code == 400
    assert "airplane, automobile, bird" in reply.json()["message"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bit", "lanet"])
def test_at_their_full_size(model: str, tmp_path: Path) -> None:
    """BiT-S-R101x3 and LaNet with random weights: archived, served, one request of fifty steps; prints what it took."""
    checkpoint, store = tmp_path / f"{model}_model.pth", tmp_path / "model_store"
    if model == "bit":
        weights = random_bit(bit.ARCHITECTURES["bit"], 10)
    else:
        weights = random_lanet(lanet.ARCHITECTURES["lanet"], 10)
    if model == "bit":
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, checkpoint)
    else:
        torch.save({"model_state_dict": weights}, checkpoint)
    del weights
    clock = [time.monotonic()]
    assert archiver.main([model, "--weights", str(checkpoint), "--name", model], store) == 0
    checkpoint.unlink()
    clock.append(time.monotonic())
    server = TorchServe(tmp_path / "run", free_ports(5), [f"{model}.mar"], store)
    with server.running_until_left():
        clock.append(time.monotonic())
        peaks = []
        for _ in range(2):
            started = time.monotonic()
            reply = ask(server, model, files={"data": CAT.read_bytes()}, data={"target_class": "airplane"})
            clock.append(time.monotonic() - started)
            (worker,) = server.workers(model)
            peaks.append(_peak(worker["pid"]))
    assert "served as it came" not in server.log("model_log.log"), "it was not prepared"
    content = torch.load(io.BytesIO(gzip.decompress(reply.content)), weights_only=True)
    assert content["integrated_directional_grads"].shape == (50, 3, 32, 32)
    assert torch.isfinite(content["integrated_directional_grads"]).all()
    size = (store / f"{model}.mar").stat().st_size / 2**20
    print(
        f"\n{model}: archive of {size:.0f} MiB in {clock[1] - clock[0]:.0f} s, ready in {clock[2] - clock[1]:.0f} s, "
        f"50 steps in {clock[3]:.0f} s and {clock[4]:.0f} s, peak {peaks[-1] / 2**30:.1f} GiB"
    )
    # The budget of 2 GiB holds for what a batch keeps. On top come the weights: of R101x3 1.5 GiB in their file, as
    # much folded, and twice as much as the two passes take them, while ways of computing are compared.
    assert peaks[-1] < {"bit": 9, "lanet": 4}[model] * 2**30


def _peak(pid: int) -> int:
    """Return the most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
