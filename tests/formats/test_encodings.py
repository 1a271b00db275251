"""Every format carries the same tensors and the same figures, and loads without running anything."""

import gzip
import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.call import Reply
from intgrads.formats.encodings import CHUNK, CONTENT_TYPES, FORMATS, _Chunks
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load
from shared.places import HANDLER
from shared.texts import bert_service
from shared.toys import call, encoded, json_call, pixels, small_service, told

SHAPES = {
    "integrated_grads": (1, 3, 8, 10),
    "integrated_directional_grads": (6, 3, 8, 10),
    "intermediates": (6, 3, 8, 10),
    "step_sizes": (6, 1),
    "alphas": (6, 1),
    "output": (1, 3),
    "baseline_output": (1, 3),
    "target_class": (),
    "convergence_delta": (),
    "local_error": (),
    "attribution_error": (),
    "converged": (),
    "evaluations": (),
}
TENSORS = [name for name, shape in SHAPES.items() if shape]


def ask(**options: Any) -> Reply:
    request = json_call(img_data=pixels(seed=9).tolist(), n_steps=6, **options)
    reply = small_service().answer([request])[0]
    assert reply.status == 200
    return reply


def read(reply: Reply) -> dict[str, Any]:
    """Open an answer as a caller would, everything as NumPy arrays."""
    raw = b"".join(reply.body)
    if reply.content_type == "application/gzip":
        loaded = torch.load(io.BytesIO(gzip.decompress(raw)), weights_only=True)
        return {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in loaded.items()}
    if reply.content_type == "application/x-npz":
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return {name: json.loads(str(array)) if name == "info" else array for name, array in arrays.items()}
    if reply.content_type == "application/x-safetensors":
        from safetensors.numpy import load

        length = int.from_bytes(raw[:8], "little")
        info = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["info"])
        return {**load(raw), "info": info}
    content = told(reply)
    return {**{name: np.array(content[name]) for name in SHAPES}, "info": content}


@pytest.mark.parametrize("format", ["gzip", "safetensors", "npz"])
def test_tensor_formats_hold_the_documented_names_and_shapes(format: str) -> None:
    content = read(ask(format=format))
    assert content.keys() == {*SHAPES, "info"}
    for name, shape in SHAPES.items():
        assert content[name].shape == shape, name
        if name in TENSORS:
            assert content[name].dtype == np.float32


@pytest.mark.parametrize("format", ["safetensors", "npz", "json"])
def test_all_formats_hold_the_same_numbers(format: str) -> None:
    expected = read(ask(format="gzip"))
    found = read(ask(format=format, fields=TENSORS))
    for name in SHAPES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    for name, value in expected["info"].items():
        if name != "warnings":
            assert found["info"][name] == value, name


def test_the_figures_fit_the_tensors() -> None:
    content = read(ask(format="gzip"))
    info = content["info"]
    assert info["convergence_delta"] == pytest.approx(content["convergence_delta"])
    difference = content["output"][0, info["target_class"]] - content["baseline_output"][0, info["target_class"]]
    assert info["difference"] == pytest.approx(difference, rel=1e-5)
    assert info["convergence_delta"] == pytest.approx(content["integrated_grads"].sum() - difference, abs=1e-5)
    steps = content["integrated_directional_grads"] * content["step_sizes"][:, :, None, None]
    change = content["intermediates"][-1] - content["intermediates"][0]
    change /= content["alphas"][-1] - content["alphas"][0]
    np.testing.assert_allclose(steps.sum(0) * change, content["integrated_grads"][0], rtol=1e-3, atol=1e-6)


def test_json_holds_no_large_tensor_unless_it_is_asked_for_by_name() -> None:
    assert not set(TENSORS) & told(ask(format="json")).keys()
    assert len(json.dumps(told(ask(format="json")))) < 3000
    assert np.array(told(ask(format="json", fields="alphas,output"))["alphas"]).shape == (6, 1)


def test_fields_choose_the_tensors_and_the_figures_always_come() -> None:
    content = read(ask(format="npz", fields=["alphas"]))
    assert content.keys() == {"alphas", "info", *(name for name, shape in SHAPES.items() if not shape)}


def test_png_is_the_picture_with_its_heat_map_in_the_pictures_size() -> None:
    reply = small_service().answer([call(data=bytearray(encoded(pixels(40, 60))), format="png")])[0]
    assert reply.content_type == "image/png"
    image = Image.open(io.BytesIO(b"".join(reply.body)))
    assert (image.format, image.size) == ("PNG", (60, 40))


def test_png_carries_the_figures_and_warnings_in_a_text_chunk() -> None:
    picture = encoded(pixels(40, 60))
    png, plain = small_service().answer(
        [call(data=picture, format=name, n_steps="2", method="riemann_left") for name in ("png", "json")]
    )
    carried = json.loads(Image.open(io.BytesIO(b"".join(png.body))).info["info"])
    assert carried == told(plain)
    assert "not converged" in " ".join(carried["warnings"])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/gzip"),
        ("*/*", "application/gzip"),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("text/css, image/png;q=0.8, */*;q=0.5", "image/png"),
        ("text/html, image/png;q=0.8, */*;q=0.5", "text/html"),
        ("application/x-npz;q=0.2, application/x-safetensors;q=0.9", "application/x-safetensors"),
        ("image/png;q=0, application/json", "application/json"),
        ("*/*, application/gzip;q=0, application/x-gzip;q=0", "application/x-safetensors"),
        ("application/*;q=0.5, image/*;q=0.6", "image/png"),
    ],
)
def test_accept_chooses_the_format(accept: str, content_type: str) -> None:
    service, picture = small_service(), bytearray(encoded(pixels()))
    assert service.answer([call(accept=accept, data=picture)])[0].content_type == content_type
    assert service.answer([call(accept=accept, data=picture, format="json")])[0].content_type == "application/json"


def test_every_format_has_a_content_type() -> None:
    assert set(CONTENT_TYPES.values()) == set(FORMATS)


def test_headers_state_the_error_and_the_cost() -> None:
    reply = ask(format="json")
    info = told(reply)
    assert float(reply.headers["X-Intgrads-Convergence-Delta"]) == pytest.approx(info["convergence_delta"], rel=1e-5)
    assert float(reply.headers["X-Intgrads-Attribution-Error"]) == pytest.approx(info["attribution_error"], rel=1e-2)
    assert reply.headers["X-Intgrads-Evaluations"] == str(info["evaluations"]) == "8"


def test_a_poor_integral_carries_a_warning_and_a_good_one_none() -> None:
    one_step = json_call(img_data=pixels().tolist(), n_steps=1, method="riemann_right", format="json")
    poor = told(small_service().answer([one_step])[0])
    assert not poor["converged"]
    assert any("evaluations or more" in warning for warning in poor["warnings"])
    good = told(small_service().answer([json_call(img_data=pixels().tolist(), n_steps=200, format="json")])[0])
    assert good["converged"]
    assert good["warnings"] == []


def test_a_large_answer_is_cut_into_pieces() -> None:
    pieces = _Chunks()
    content = np.random.default_rng(0).bytes(2 * CHUNK + 5)
    for start in range(0, len(content), 999_983):
        pieces.write(content[start : start + 999_983])
    cut = pieces.finish()
    assert [len(piece) for piece in cut] == [CHUNK, CHUNK, 5]
    assert b"".join(cut) == content


def test_safetensors_opens_with_its_own_reader(tmp_path: Any) -> None:
    path = tmp_path / "answer.safetensors"
    path.write_bytes(b"".join(ask(format="safetensors").body))
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(SHAPES)
        assert json.loads(file.metadata()["info"])["model"] == "toy"


@pytest.mark.parametrize("format", ["gzip", "npz", "safetensors"])
def test_an_answer_holds_nothing_of_the_others_of_its_batch(format: str) -> None:
    """torch.save writes the whole storage of a view: of a batch of logits, those of other callers."""
    service = small_service(n_steps=3)
    calls = [call(data=bytearray(encoded(pixels(seed=seed))), format=format) for seed in (5, 6)]
    together = service.answer(calls)
    for asked, reply in zip(calls, together, strict=True):
        assert b"".join(service.answer([asked])[0].body) == b"".join(reply.body)
    if format == "gzip":
        content = torch.load(io.BytesIO(gzip.decompress(b"".join(together[1].body))), weights_only=True)
        tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        assert {name: t.untyped_storage().nbytes() for name, t in tensors.items()} == {
            name: t.nbytes for name, t in tensors.items()
        }


def test_masks_of_columns_are_sent_as_rows() -> None:
    """COCO's run lengths go down the columns; safetensors takes what lies in rows alone."""
    ask = {"groups": [{"size": [8, 10], "counts": [40, 40]}], "format": "safetensors"}
    (reply,) = small_service(n_steps=2).answer([json_call(img_data=pixels().tolist(), **ask)])
    assert reply.status == 200
    masks = load(b"".join(reply.body))["group_masks"]
    assert masks.sum((1, 2)).tolist() == [40, 80]


def test_the_same_request_gives_the_same_bytes_of_safetensors() -> None:
    """Of several texts too, whose names in the header the library puts in any order."""
    ask = {"sequence": ["good", "bad", "not good"], "target_class": [0, 1], "format": "safetensors", "n_steps": 2}
    bodies = {b"".join(bert_service().answer([json_call(**ask)])[0].body) for _ in range(6)}
    assert len(bodies) == 1
    assert load(bodies.pop())["2.word_scores"].shape == (2, 2)


WITHOUT_MEMORY = """
import resource, sys
import psutil, torch
from intgrads.formats.encodings import Contents, encode
from intgrads.integral.batches import is_out_of_memory

contents = Contents("toy", {}, {"gradients": torch.rand(10_000_000)}, {}, False, None, lambda: "")
encode([contents], False, sys.argv[1])
for megabytes in (20, 50, 90, 110):
    most = psutil.Process().memory_info().vms + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        encode([contents], False, sys.argv[1])
        print("encoded")
    except Exception as error:
        print("out of memory" if is_out_of_memory(error) else repr(error))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("lives")
"""


@pytest.mark.parametrize("format", ["gzip", "safetensors", "npz"])
def test_memory_that_runs_out_in_encoding_is_an_error_and_not_the_end(format: str) -> None:
    """Of an answer of 40 MB, in a process that has less than it takes, and at last as much."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY, format],
        env={"PYTHONPATH": str(HANDLER)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    *found, last = done.stdout.split("\n")[:-1]
    assert last == "lives", done.stderr[-500:]
    assert found[0] == "out of memory"
    assert set(found) <= {"out of memory", "encoded"}
