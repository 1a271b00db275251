"""The main job, end to end: a real TorchServe, real HTTP, real pictures, and every kind of bad request."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from intgrads.serving.torchserve import TorchServe
from PIL import Image
from safetensors.torch import load
from shared.bad_requests import BAD
from shared.places import ROOT
from shared.serving import assert_refused, description, loaded, over_http, pids, post, post_at_once
from shared.toys import encoded, pixels

pytestmark = pytest.mark.server

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()


def test_a_picture_by_its_bytes(torchserve: TorchServe) -> None:
    reply = post(torchserve, data=CAT, headers={"Content-Type": "image/jpeg"})
    content = loaded(reply)
    assert content["info"]["prediction"]["label"] == "tiger cat"
    assert content["integrated_grads"].shape == (1, 3, 224, 224)
    steps = content["info"]["n_steps"]
    assert content["integrated_directional_grads"].shape == content["intermediates"].shape == (steps, 3, 224, 224)
    # The demo's own tolerance, since nothing was said of the steps.
    assert content["info"]["tolerance"] == 0.05
    assert content["attribution_error"].item() <= 0.05
    assert content["step_sizes"].sum().item() == pytest.approx(1, abs=1e-6)
    assert float(reply.headers["X-Intgrads-Convergence-Delta"]) == pytest.approx(
        content["convergence_delta"].item(), rel=1e-4
    )
    delta = content["integrated_grads"].double().sum() - content["info"]["difference"]
    assert delta.item() == pytest.approx(content["convergence_delta"].item(), abs=1e-4)


def test_a_picture_in_a_form_with_options(torchserve: TorchServe) -> None:
    """The form is curl's own: requests would send the same, but the documented line is curl's."""
    done = subprocess.run(
        ["curl", "-s", "-F", f"data=@{ROOT / 'examples' / 'cat.jpg'}", "-F", "target_class=Egyptian cat",
         "-F", "n_steps=5", "-F", "format=json", f"{torchserve.url}/predictions/intgrads"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["target_label"] == "Egyptian cat"
    assert answer["evaluations"] == 7


@pytest.mark.parametrize("content_type", ["application/json", "application/json; chartset=utf-8", "Application/JSON"])
def test_the_json_of_prepare_input(torchserve: TorchServe, tmp_path: Path, content_type: str) -> None:
    vga = Image.open(io.BytesIO(CAT)).resize((640, 480))
    vga.save(tmp_path / "cat.png")
    out = tmp_path / "in.json"
    archive = str(torchserve.directory / "model_store" / "intgrads.mar")
    script = [sys.executable, str(ROOT / "prepare_input.py"), "--archive", archive, str(tmp_path / "cat.png")]
    subprocess.run([*script, "Egyptian cat", str(out)], check=True, capture_output=True)
    assert out.stat().st_size > 2_000_000
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    reply = post(torchserve, data=out.read_bytes(), headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.json()["target_label"] == "Egyptian cat"
    assert reply.json()["picture_size"] == [480, 640]


def test_explanations_are_the_same(torchserve: TorchServe) -> None:
    ask: dict[str, Any] = {"data": CAT, "headers": {"Content-Type": "image/jpeg", "Accept": "application/json"}}
    explained = requests.post(f"{torchserve.url}/explanations/intgrads", timeout=120, **ask)
    assert explained.json() == post(torchserve, **ask).json()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_photo_of_twelve_megapixels(torchserve: TorchServe, format: str) -> None:
    photo = encoded(np.asarray(Image.open(io.BytesIO(CAT)).resize((4000, 3000))), format)
    reply = post(torchserve, "batches", files={"data": photo}, data={"format": "json"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["picture_size"] == [3000, 4000]


def test_the_heat_map_has_the_pictures_size(torchserve: TorchServe) -> None:
    reply = post(torchserve, data=CAT, headers={"Content-Type": "image/jpeg", "Accept": "image/png"})
    assert Image.open(io.BytesIO(reply.content)).size == Image.open(io.BytesIO(CAT)).size


def test_an_answer_of_a_hundred_megabytes_arrives_whole(torchserve: TorchServe) -> None:
    ask = {"n_steps": 1000, "fields": "integrated_directional_grads,intermediates", "format": "safetensors"}
    reply = post(torchserve, "batches", files={"data": CAT}, data=ask)
    content = load(reply.content)
    assert len(reply.content) > 98_000_000
    assert content["intermediates"].shape == (1000, 3, 64, 64)


ALLOWED = {
    "too many pixels", "an array of too many pixels", "an unknown label", "too many classes", "one bad class of two",
    "n_steps huge", "a refinement too large", "an answer too large",
}  # fmt: skip
"""What the archive ``batches`` allows and the small one of the unit tests does not: it has a dog, and more room."""


def test_bad_requests_are_answered_in_json_by_the_same_worker(torchserve: TorchServe) -> None:
    """Every bad request that JSON or a body of bytes can carry, as HTTP carries it; the worker is never replaced."""
    before = pids(torchserve, "batches")
    for name, (call, _, _, _) in BAD.items():
        reply = post(torchserve, "batches", **over_http(call))
        if name in ALLOWED:
            assert reply.status_code == 200, (name, reply.text[:500])
        else:
            assert_refused(reply, name)
    form = requests.post(
        f"{torchserve.url}/predictions/batches", data='{"img_data": []}',
        headers={"Content-Type": "application/x-www-form-urlencoded"}, timeout=60,
    )  # fmt: skip
    assert form.status_code == 400
    assert form.json()["message"]
    assert pids(torchserve, "batches") == before


def test_a_request_over_the_servers_limit_is_413(torchserve: TorchServe) -> None:
    before = pids(torchserve, "intgrads")
    try:
        reply = post(torchserve, data=bytes(105_000_000), headers={"Content-Type": "image/jpeg"})
        assert reply.status_code == 413
    except requests.ConnectionError:
        pass  # TorchServe may close before all of it was sent
    assert pids(torchserve, "intgrads") == before


def test_a_batch_with_a_bad_request_answers_each_with_its_own(torchserve: TorchServe) -> None:
    """Large answers in pieces beside small ones and errors, all in batches of up to four."""
    before = pids(torchserve, "batches")
    pictures = [encoded(pixels(64, 64, seed)) for seed in range(4)]
    asks: list[dict[str, Any]] = [
        {"files": {"data": pictures[0]}, "data": {"n_steps": "150"}},
        {"files": {"data": pictures[1]}, "data": {"n_steps": "none"}},
        {"files": {"data": pictures[2]}, "data": {"format": "json", "fields": "integrated_grads"}},
        {"files": {"data": pictures[3]}, "data": {"n_steps": "140", "target_class": "dog"}},
    ] * 3
    alone = [post(torchserve, "batches", **ask) for ask in asks[:4]]
    for k, reply in enumerate(post_at_once(torchserve, "batches", asks)):
        expected = alone[k % 4]
        assert reply.status_code == expected.status_code == (400 if k % 4 == 1 else 200)
        if k % 4 == 1:
            assert reply.json() == expected.json()
        elif k % 4 == 2:
            found = np.array(reply.json()["integrated_grads"])
            np.testing.assert_allclose(found, np.array(expected.json()["integrated_grads"]), rtol=1e-3, atol=1e-5)
        else:
            assert len(reply.content) > 4 * 2**20
            torch.testing.assert_close(
                loaded(reply)["integrated_grads"], loaded(expected)["integrated_grads"], rtol=1e-3, atol=1e-5
            )
    assert pids(torchserve, "batches") == before


def test_a_model_that_cannot_load_answers_503_with_the_reason(torchserve: TorchServe) -> None:
    reply = post(torchserve, "damaged", data=CAT, headers={"Content-Type": "image/jpeg"})
    error = reply.json()
    assert reply.status_code == error["code"] == 503
    assert "what" in error["message"]


def test_a_model_describes_itself(torchserve: TorchServe) -> None:
    told = description(torchserve, "intgrads")
    assert told["classes"] == len(told["labels"]) == 1000
    assert told["labels"][281] == "tabby, tabby cat"
    assert told["outputs"] == "softmax"
    assert told["input_size"] == [224, 224]
    assert told["transform"]["crop_pct"] == 0.875
    assert "n_steps" in told["fields"]
    assert told["choices"]["baseline"] == ["black", "zero", "white", "mean", "blur", "noise"]
    assert "gausslegendre" in told["choices"]["method"]


def test_a_callers_describe_header_is_a_header_like_any_other(torchserve: TorchServe) -> None:
    headers = {"Content-Type": "image/jpeg", "Accept": "application/json", "describe": "True", "explain": "True"}
    assert post(torchserve, "batches", data=CAT, headers=headers).json()["evaluations"] == 22


def test_a_tolerance_of_one_percent_is_met_on_the_cat(torchserve: TorchServe) -> None:
    reply = post(torchserve, files={"data": CAT}, data={"tolerance": "0.01", "format": "json"})
    answer = reply.json()
    assert answer["converged"]
    assert 0 < answer["attribution_error"] <= 0.01
    assert float(reply.headers["X-Intgrads-Attribution-Error"]) == pytest.approx(answer["attribution_error"], rel=0.01)
    assert answer["local_error"] <= 0.01 * abs(answer["difference"])
    assert abs(answer["convergence_delta"]) <= answer["local_error"]
    assert reply.headers["X-Intgrads-Evaluations"] == str(answer["evaluations"])


def test_workers_scale_through_the_management_api(torchserve: TorchServe) -> None:
    ask: dict[str, Any] = {"data": CAT, "headers": {"Content-Type": "image/jpeg", "Accept": "application/json"}}
    before = post(torchserve, "batches", **ask).json()
    url = f"{torchserve.management_url}/models/batches?min_worker={{}}&synchronous=true"
    assert requests.put(url.format(2), timeout=120).status_code == 200
    assert len(pids(torchserve, "batches")) == 2
    for _ in range(4):
        after = post(torchserve, "batches", **ask).json()
        assert after["difference"] == pytest.approx(before["difference"], rel=1e-4)
    assert requests.put(url.format(1), timeout=120).status_code == 200


def test_headers_reach_no_log(torchserve: TorchServe) -> None:
    secret = "Bearer of-a-secret-5077"
    post(torchserve, data=b"?", headers={"Content-Type": "image/jpeg", "Authorization": secret})
    logs = "".join(path.read_text(errors="replace") for path in (torchserve.directory / "logs").iterdir())
    assert "of-a-secret-5077" not in logs
