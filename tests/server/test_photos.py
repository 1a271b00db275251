"""Ten photos of odd shapes, sent by curl, get the predictions of the plain network after timm's own transform."""

import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from intgrads.networks.demo_image import ARCHITECTURE
from intgrads.serving.torchserve import TorchServe
from safetensors.torch import load
from shared.photos import photos, seen_by_timm
from shared.toys import encoded
from timm.data import create_transform, resolve_data_config

pytestmark = pytest.mark.server


def test_photos_by_curl_get_timms_own_predictions(torchserve: TorchServe, tmp_path: Path) -> None:
    plain = timm.create_model(ARCHITECTURE, pretrained=False).eval()
    with zipfile.ZipFile(torchserve.directory / "model_store" / "intgrads.mar") as archive:
        plain.load_state_dict(load(archive.read("weights.safetensors")))
    transform = create_transform(**resolve_data_config({}, model=plain), is_training=False)
    for name, picture in photos().items():
        (tmp_path / "photo.png").write_bytes(encoded(picture))
        form = ("-F", f"data=@{tmp_path / 'photo.png'}", "-F", "n_steps=1", "-F", "format=json", "-F", "fields=output")
        url = f"{torchserve.url}/predictions/intgrads"
        done = subprocess.run(["curl", "-s", *form, url], capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        with torch.no_grad():
            expected = plain(seen_by_timm(transform, picture))[0]
        np.testing.assert_allclose(answer["output"][0], expected, atol=1e-4 * expected.abs().max().item(), err_msg=name)
        assert answer["prediction"]["index"] == int(expected.argmax()), name
