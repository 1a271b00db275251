"""Groups over a request: every format tells what each carries; what fits no group is refused."""

import base64
import gzip
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.integral.groups import group_values
from intgrads.pictures.run_lengths import encode_mask
from PIL import Image
from safetensors.torch import load
from shared.html_pages import Page, page_of
from shared.texts import bert_service
from shared.toys import call, encoded, json_call, pixels, refused, small_service, told

SERVICE = small_service()
TEXTS = bert_service()
LABEL_MAP = np.repeat([[1] * 5 + [2] * 5], 8, axis=0)
SENTENCE = "the camera isn't bad but really good."
TREE = "(S (S (NP the camera) (VP is (RB n't) bad)) (CC but) (ADJP really good) (. .))"
PNG = encoded(LABEL_MAP.astype(np.uint8))


def tensors(**content: Any) -> dict[str, Any]:
    (reply,) = SERVICE.answer([json_call(img_data=pixels().tolist(), **content)])
    assert reply.status == 200, reply.body
    found: dict[str, Any] = torch.load(io.BytesIO(gzip.decompress(b"".join(reply.body))), weights_only=True)
    return found


def told_of(service: Any, **content: Any) -> dict[str, Any]:
    (reply,) = service.answer([json_call(format="json", **content)])
    assert reply.status == 200, reply.body
    return told(reply)


@pytest.mark.parametrize("group_pixels", [True, False])
def test_the_figures_are_those_of_the_answers_own_gradients(group_pixels: bool) -> None:
    answer = tensors(groups=LABEL_MAP.tolist(), group_pixels=group_pixels)
    masks = answer["group_masks"].numpy()
    assert masks.shape == (3, 8, 10)
    assert np.array_equal(masks[:2], [LABEL_MAP == 1, LABEL_MAP == 2])
    assert masks[2].all()
    gradient = (answer["step_sizes"][:, :, None, None] * answer["integrated_directional_grads"]).sum(0).double()
    ends = answer["intermediates"].double()
    alphas = answer["alphas"].double()[:, :, None, None]
    step = ((ends[-1] - ends[0]) / (alphas[-1] - alphas[0])).flatten(1).T.numpy()
    expected = group_values(gradient.flatten(1).T.numpy() * step, step, masks.reshape(3, -1), group_pixels)
    np.testing.assert_allclose(answer["group_idg"], expected.idg, rtol=1e-4)
    np.testing.assert_allclose(answer["group_dividends"], expected.dividends, rtol=1e-4)
    np.testing.assert_allclose(answer["group_values"], expected.values, rtol=1e-4)
    assert answer["group_integrated_gradients"][2] == pytest.approx(answer["integrated_grads"].double().sum().item())
    assert answer["group_values"][2] == pytest.approx(1)
    listed = answer["info"]["groups"]
    assert [group["kind"] for group in listed] == ["mask", "mask", "picture"]
    assert [group["label"] for group in listed] == ["label 1", "label 2", "the whole picture"]
    assert [group["size"] for group in listed] == [40, 40, 80]
    assert [group["value"] for group in listed] == answer["group_values"].tolist()


def test_several_targets_have_an_axis_of_their_own() -> None:
    answer = tensors(groups="superpixels", n_superpixels=4, target_class=[0, 2])
    count = len(answer["group_masks"])
    assert answer["group_idg"].shape == answer["group_values"].shape == (2, count)
    assert [len(group["idg"]) for group in answer["info"]["groups"]] == [2] * count
    alone = tensors(groups="superpixels", n_superpixels=4, target_class=2)
    np.testing.assert_allclose(answer["group_idg"][1], alone["group_idg"], rtol=1e-4)


@pytest.mark.parametrize(
    "groups",
    [
        LABEL_MAP.tolist(),
        [encode_mask(LABEL_MAP == 1), encode_mask(LABEL_MAP == 2)],
        base64.b64encode(PNG).decode(),
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
    ],
)
def test_masks_come_in_many_ways(groups: Any) -> None:
    answer = told_of(SERVICE, img_data=pixels().tolist(), groups=groups)
    plain = told_of(SERVICE, img_data=pixels().tolist(), groups=LABEL_MAP.tolist())
    assert [group["value"] for group in answer["groups"]] == [group["value"] for group in plain["groups"]]


@pytest.mark.parametrize("groups", [bytearray(PNG), json.dumps(LABEL_MAP.tolist()), "superpixels"])
def test_forms_carry_them_too(groups: Any) -> None:
    (reply,) = SERVICE.answer([call(data=encoded(pixels()), groups=groups, format="json")])
    assert reply.status == 200
    assert told(reply)["groups"][-1]["value"] == pytest.approx(1)


def test_each_format_carries_them() -> None:
    request = {"img_data": pixels(40, 50).tolist(), "groups": "superpixels"}
    replies = SERVICE.answer([json_call(**request, format=name) for name in ("safetensors", "npz", "png", "html")])
    assert [reply.status for reply in replies] == [200] * 4
    safetensors, npz, png, html = (b"".join(reply.body) for reply in replies)
    stored = load(safetensors)
    assert stored["group_masks"].dtype == torch.bool
    with np.load(io.BytesIO(npz)) as arrays:
        assert np.array_equal(arrays["group_masks"], stored["group_masks"])
    drawn = Image.open(io.BytesIO(png))
    assert drawn.width > 320
    page = Page(html.decode())
    outlined, (listed,) = page.of_class("group"), page.answers
    assert [one["data-row"] for one in outlined] == [str(k) for k in range(len(outlined))]
    assert all((one["d"] or "").startswith("M") for one in outlined)
    assert listed["groups"]["labels"] == [f"superpixel {k}" for k in range(1, len(outlined) + 1)] + [
        "the whole picture"
    ]
    np.testing.assert_allclose(listed["groups"]["figures"][0]["value"]["of"], stored["group_values"])


def test_masks_are_sent_where_they_were_asked_for() -> None:
    assert "group_masks" not in tensors(groups="superpixels", fields=["integrated_grads"])
    assert "group_masks" in tensors(groups="superpixels", fields=["group_masks"])
    assert not [name for name in tensors() if name.startswith("group")]


def test_what_is_not_used_is_told() -> None:
    answer = told_of(SERVICE, img_data=pixels().tolist(), n_superpixels=4)
    assert "`n_superpixels` was not used" in answer["warnings"][0]


def test_words_spans_and_phrases_of_a_text() -> None:
    words = told_of(TEXTS, sequence=SENTENCE, groups="words")["groups"]
    assert [group["label"] for group in words if group["kind"] == "word"] == [
        "the", "camera", "isn't", "bad", "but", "really", "good", ".",
    ]  # fmt: skip
    assert words[-1]["kind"] == "text"
    assert words[-1]["value"] == pytest.approx(1)
    tokens = [group for group in words if group["kind"] == "token"]
    assert (tokens[0]["label"], tokens[-1]["label"]) == ("[CLS]", "[SEP]")
    whole = sum(group["integrated_gradients"] for group in tokens)
    assert whole == pytest.approx(words[-1]["integrated_gradients"], abs=1e-6)
    tree = told_of(TEXTS, sequence=SENTENCE, groups=TREE)["groups"]
    phrases = {group["label"]: group for group in tree if group["kind"] == "phrase"}
    assert phrases["NP the camera"]["value"] < phrases["S the camera isn't bad"]["value"]
    assert phrases["NP the camera"]["size"] == 2
    spans = told_of(TEXTS, sequence=SENTENCE, groups=[[0, 10]])["groups"]
    span = next(group for group in spans if group["kind"] == "span")
    assert span["idg"] == pytest.approx(phrases["NP the camera"]["idg"], rel=1e-5)


def test_a_texts_groups_as_tensors_and_as_a_page() -> None:
    (reply, page) = TEXTS.answer([json_call(sequence=SENTENCE, groups=TREE, format=name) for name in ("npz", "html")])
    with np.load(io.BytesIO(b"".join(reply.body))) as arrays:
        spans, idg = arrays["group_spans"], arrays["group_idg"]
        assert spans.shape == (len(idg), 2)
        assert spans[-1].tolist() == [0, len(arrays["tokens"])]
        ig = arrays["integrated_gradients"][0].astype(np.float64).sum(1)
        sums = [ig[first:last].sum() for first, last in spans]
        np.testing.assert_allclose(arrays["group_integrated_gradients"], sums, rtol=1e-4, atol=1e-6)
    shown = page_of(page)
    (listed,) = shown.answers
    nodes = [node for node in shown.of_class("node") if "leaf" not in (node["class"] or "")]
    assert len(nodes) == TREE.count("(")
    assert "S the camera isn't bad" in [listed["groups"]["labels"][int(node["data-group"] or "")] for node in nodes]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"groups": "segments"}, "no TensorMask"),
        ({"groups": "objects"}, "must be segments, superpixels"),
        ({"groups": "[[1, 2]"}, "not valid JSON"),
        ({"groups": 7}, "must be segments, superpixels"),
        ({"groups": base64.b64encode(encoded(pixels(), "JPEG")).decode()}, "not a PNG picture"),
        ({"groups": base64.b64encode(PNG[:60]).decode()}, "damaged"),
        ({"groups": "superpixels", "superpixel_method": "quickshift"}, "slic"),
        ({"groups": "superpixels", "n_superpixels": 0}, "about how many"),
        ({"groups": "superpixels", "n_superpixels": 10**9}, "about how many"),
        ({"fields": ["group_masks"]}, "without `groups`"),
        ({"groups": "superpixels", "group_pixels": "perhaps"}, "whether each pixel"),
    ],
)
def test_bad_groups_of_a_picture(content: dict[str, Any], message: str) -> None:
    (reply,) = SERVICE.answer([json_call(img_data=pixels().tolist(), **content)])
    assert 400 <= reply.status < 500
    assert message in told(reply)["message"]
    assert told(reply)["field"] in content


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("(S the camera", "lacks 1 closing"),
        ("(S the film)", "does not fit the text"),
        ("phrases", "must be words"),
        ([[0, 1000]], "no [start, end]"),
        ("[[0, 3]", "not valid JSON"),
        (True, "must be words"),
    ],
)
def test_bad_groups_of_a_text(groups: Any, message: str) -> None:
    (reply,) = TEXTS.answer([json_call(sequence=SENTENCE, groups=groups)])
    assert reply.status == 400
    assert message in told(reply)["message"]
    assert told(reply)["field"] == "groups"


def test_one_tree_does_not_fit_two_texts() -> None:
    (reply,) = TEXTS.answer([json_call(sequence=["it is good", "it is bad"], groups="(S it is good)")])
    refused(reply, 400, "spans and a tree are of one text; with a list of texts send `words`")
    (reply,) = TEXTS.answer([json_call(sequence=["it is good", "it is bad"], groups="words", format="json")])
    assert [len(answer["groups"]) for answer in told(reply)["answers"]] == [9, 9]
