"""A picture in, its objects out, and attributions of one of them, with the small network that comes with intgrads."""

import base64
import gzip
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load

pytest.importorskip("detectron2")

from intgrads.archives.archive import write_archive
from intgrads.call import Reply
from intgrads.networks.family import Order
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.run_lengths import decode_mask
from intgrads.service import Service
from intgrads.settings import Settings
from pycocotools import mask as coco_masks
from shapes import HELD_OUT, Drawing, draw, judge_saved
from shared.detections import KINDS, SHAPES, SHAPES_CONFIG
from shared.html_pages import page_of
from shared.places import TRAINING
from shared.toys import call, encoded, json_call, pixels, small_service, told


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service[Any]:
    """Return the small network's archive, loaded."""
    directory = tmp_path_factory.mktemp("shapes")
    settings = Settings.model_validate({"threads": 1, "n_steps": 4})
    order = Order("tensormask", None, KINDS, settings, tensormask=SHAPES, tensormask_config=SHAPES_CONFIG)
    write_archive(order, directory)
    return Service.load(directory, torch.device("cpu"))


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    """Return a held-out picture of three objects, large enough for any network, that do not touch."""
    for number in range(1000):
        drawing = draw(HELD_OUT + number)
        area = drawing.masks.sum((1, 2))
        if len(set(drawing.kinds.tolist())) == 3 and area.min() > 250 and area.sum() == drawing.masks.any(0).sum():
            return drawing
    raise AssertionError("no such picture")


def ask(service: Service[Any], drawing: Drawing, **fields: Any) -> Reply:
    (reply,) = service.answer([call(data=encoded(drawing.pixels), **fields)])
    return reply


def answered(service: Service[Any], drawing: Drawing, **fields: Any) -> dict[str, Any]:
    reply = ask(service, drawing, format="json", **fields)
    assert reply.status == 200, reply.body
    return told(reply)


def tensors(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(io.BytesIO(gzip.decompress(b"".join(reply.body))), weights_only=True)
    return found


def test_the_objects_of_a_picture_that_training_never_saw_are_found(service: Service[Any], drawing: Drawing) -> None:
    content = tensors(ask(service, drawing))
    assert content["pred_masks"].dtype == torch.bool
    assert content["pred_masks"].shape == (3, 128, 128)
    assert content["pred_boxes"].shape == (3, 4)
    assert sorted(content["pred_classes"].tolist()) == sorted(drawing.kinds.tolist())
    assert content["scores"].tolist() == sorted(content["scores"].tolist(), reverse=True)
    assert content["scores"].min() > 0.5
    for kind, mask in zip(content["pred_classes"].tolist(), content["pred_masks"].numpy(), strict=True):
        true = drawing.masks[drawing.kinds.tolist().index(kind)]
        assert (mask & true).sum() / (mask | true).sum() > 0.7
    listed = content["info"]["instances"]
    assert [one["label"] for one in listed] == [KINDS[kind] for kind in content["pred_classes"].tolist()]


def test_on_many_pictures_masks_and_boxes_are_right() -> None:
    """The whole result, on 300 pictures, is in training/shapes.results.json."""
    figures = judge_saved(40)
    assert figures["mask_AP50"] > 0.8
    assert figures["box_AP50"] > 0.8
    stated = json.loads((TRAINING / "shapes.results.json").read_text())
    assert stated["pictures"] >= 300
    assert stated["mask_AP50"] == pytest.approx(figures["mask_AP50"], abs=0.1)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools
def test_every_format_carries_the_same(service: Service[Any], drawing: Drawing) -> None:
    one = tensors(ask(service, drawing))
    content = load(b"".join(ask(service, drawing, format="safetensors").body))
    arrays = np.load(io.BytesIO(b"".join(ask(service, drawing, format="npz").body)))
    names = {"pred_masks", "scores", "pred_classes", "pred_boxes"}
    assert content.keys() == names
    assert set(arrays) == names | {"info"}
    answer = answered(service, drawing)
    for name in names:
        assert torch.equal(content[name], one[name])
        assert np.array_equal(arrays[name], one[name])
        if name != "pred_masks":
            assert answer[name] == one[name].tolist()
    for k, listed in enumerate(answer["instances"]):
        mask = one["pred_masks"][k].numpy()
        assert np.array_equal(decode_mask(listed["mask"], "mask", (128, 128)), mask)
        # As COCO's own tools read it.
        size = listed["mask"]["size"]
        assert np.array_equal(coco_masks.decode(coco_masks.frPyObjects(listed["mask"], *size)).astype(bool), mask)
        assert listed["size"] == mask.sum()
        assert listed["box"] == answer["pred_boxes"][k]
    assert b"".join(ask(service, drawing).body) == b"".join(ask(service, drawing).body)


def test_png_and_html_show_the_objects(service: Service[Any], drawing: Drawing) -> None:
    shown = np.asarray(Image.open(io.BytesIO(b"".join(ask(service, drawing, format="png").body))))
    assert shown.shape == (320, 320, 3)
    plain = np.asarray(Image.fromarray(drawing.pixels).resize((320, 320), Image.Resampling.BILINEAR)).astype(int)
    changed = np.abs(shown - plain).max(2) > 20
    masks = np.asarray(Image.fromarray(np.asarray(drawing.masks.any(0))).resize((320, 320)))
    assert changed[masks].mean() > 0.8
    assert changed[~masks].mean() < 0.15
    page = page_of(ask(service, drawing, format="html"))
    assert "The objects that were found" in page.text
    assert all(kind in page.text for kind in KINDS)
    asking = [attributes["data-ask"] for _, attributes in page.tags if "data-ask" in attributes]
    assert asking == [f"target_instance={k}" for k in range(len(asking))]
    assert len(page.of_class("object")) == len(asking)
    attributed = page_of(ask(service, drawing, format="html", target_instance="1"))
    assert "Which pixels moved the output" in attributed.text
    assert "convergence delta" in attributed.text


def test_nothing_found_is_an_answer(service: Service[Any], drawing: Drawing) -> None:
    content = tensors(ask(service, drawing, score_threshold="0.99999"))
    assert content["pred_masks"].shape == (0, 128, 128)
    assert content["pred_boxes"].shape == (0, 4)
    assert content["info"]["instances"] == []
    for format in ("json", "npz", "safetensors", "png", "html"):
        assert ask(service, drawing, score_threshold="0.99999", format=format).status == 200


def test_fewer_are_found_over_a_higher_threshold_and_in_the_same_order(service: Service[Any], drawing: Drawing) -> None:
    many = answered(service, drawing, score_threshold="0.05")
    some = answered(service, drawing)
    assert len(many["scores"]) >= len(some["scores"]) == 3
    assert some["scores"] == pytest.approx(many["scores"][:3])
    assert some["score_threshold"] == 0.5
    first, second = some["scores"][:2]
    assert len(answered(service, drawing, score_threshold=str((first + second) / 2))["scores"]) == 1


def test_masks_have_the_sent_pictures_size(service: Service[Any], drawing: Drawing) -> None:
    large = np.asarray(Image.fromarray(drawing.pixels).resize((300, 384), Image.Resampling.BILINEAR))
    (reply,) = service.answer([call(data=encoded(large))])
    content = tensors(reply)
    assert content["pred_masks"].shape[1:] == (384, 300)
    assert content["info"]["input_size"] == [164, 128]
    assert any("resized from 300 × 384 to the network's 128 × 164" in w for w in content["info"]["warnings"])
    for mask, (x0, y0, x1, y1) in zip(content["pred_masks"], content["pred_boxes"].tolist(), strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        assert abs(rows.min() - y0) < 25
        assert abs(rows.max() - y1) < 25
        assert abs(columns.min() - x0) < 25
        assert abs(columns.max() - x1) < 25


def red_disc() -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = Image.new("RGB", (128, 128), (0, 0, 120))
    pen = ImageDraw.Draw(image)
    pen.ellipse((30, 40, 90, 100), fill=(230, 0, 0))
    pen.ellipse((45, 55, 75, 85), fill=(0, 0, 120))
    return np.asarray(image)


def test_a_red_object_reaches_the_network_as_red(service: Service[Any]) -> None:
    """RGB bytes, RGB arrays and BGR arrays are one picture; the backbone, which takes blue first, gets red last."""
    picture = red_disc()
    seen: list[torch.Tensor] = []
    stem = service.network.module.backbone.bottom_up.stem.conv1
    hook = stem.register_forward_pre_hook(lambda *given: seen.append(given[1][0]))
    asks = [
        call(data=encoded(picture), format="json"),
        json_call(img_data=picture.tolist(), format="json"),
        json_call(img_data=picture.transpose(2, 0, 1)[::-1].tolist(), format="json"),
        json_call(image=base64.b64encode(encoded(picture)).decode(), format="json"),
    ]
    replies = service.answer(asks)
    hook.remove()
    assert len(seen) == 4
    assert len({b"".join(reply.body) for reply in replies}) == 1
    assert [one["label"] for one in told(replies[0])["instances"]] == ["ring"]
    for x in seen:
        blue, green, red = x[0, :, 70, 35].tolist()
        assert red == pytest.approx((230 - 123.675) / 58, abs=1e-4)
        assert green == pytest.approx((0 - 116.28) / 58, abs=1e-4)
        assert blue == pytest.approx((0 - 103.53) / 58, abs=1e-4)


@pytest.mark.parametrize("target", ["class", "mask"])
def test_a_detection_is_attributed(service: Service[Any], drawing: Drawing, target: str) -> None:
    content = tensors(ask(service, drawing, target_instance="1", target=target, n_steps="24"))
    info = content["info"]
    label = info["instances"][1]["label"]
    assert content["integrated_grads"].shape == (1, 3, 128, 128)
    assert content["integrated_directional_grads"].shape == (24, 3, 128, 128)
    assert content["integrated_grads"].double().sum().item() == pytest.approx(
        info["difference"] + info["convergence_delta"], abs=1e-3
    )
    at_x, at_baseline = (content[name][0, content["target_class"]].item() for name in ("output", "baseline_output"))
    assert at_x - at_baseline == pytest.approx(info["difference"], abs=1e-4)
    if target == "class":
        assert info["target_label"] == label
        # The logit before non-maximum suppression is that of the score.
        assert torch.tensor(at_x).sigmoid().item() == pytest.approx(content["scores"][1].item(), abs=1e-5)
        assert content["output"].shape == (1, 3)
    else:
        assert info["target_label"] == f"mask of {label}"
        assert content["output"].shape == (1, 1)
        assert at_x > 0
    # What moved the output lies on and around the object.
    strength = content["integrated_grads"][0].sum(0).abs()
    x0, y0, x1, y1 = (round(side) for side in content["pred_boxes"][1].tolist())
    inside = strength[max(y0 - 8, 0) : y1 + 8, max(x0 - 8, 0) : x1 + 8]
    assert inside.mean() > 2 * strength.mean()


def test_the_difference_is_of_real_passes_from_the_same_place(service: Service[Any], drawing: Drawing) -> None:
    """Against the whole network's logits, at x and at the baseline."""
    answer = answered(service, drawing, target_instance="0", n_steps="2")
    segmenter = service.network.segmenter
    spec = segmenter.picture_spec((128, 128))
    ends = [spec.normalise(drawing.pixels), spec.normalise(np.zeros_like(drawing.pixels))]
    features = [segmenter.network.features(x[None]) for x in ends]
    place = segmenter.network.detect(features[0], 0.5).place(0)
    channel = place.anchor * 3 + answer["target_class"]
    at_x, at_baseline = (
        segmenter.network.head.classes(maps[place.level])[0, channel, place.row, place.column].item()
        for maps in features
    )
    assert answer["difference"] == pytest.approx(at_x - at_baseline, abs=1e-3)


def test_another_class_at_the_same_place_and_groups(service: Service[Any], drawing: Drawing) -> None:
    answer = answered(service, drawing, target_instance="0", target_class='["bar", "ring"]', groups="segments")
    assert answer["target_label"] == ["bar", "ring"]
    assert [group["kind"] for group in answer["groups"]] == ["segment"] * 3 + ["picture"]
    assert [group["label"] for group in answer["groups"]][:3] == [one["label"] for one in answer["instances"]]


def test_a_detection_against_another_class_and_its_probability(service: Service[Any], drawing: Drawing) -> None:
    each = answered(service, drawing, target_instance="0", target_class='["bar", "ring"]')
    apart = answered(service, drawing, target_instance="0", target_class="bar", against="ring")
    assert apart["difference"] == pytest.approx(each["difference"][0] - each["difference"][1], abs=1e-4)
    likely = answered(service, drawing, target_instance="0", output="probability")
    assert likely["value"] == pytest.approx(likely["instances"][0]["score"], abs=1e-5)


def test_a_detection_from_several_baselines(service: Service[Any], drawing: Drawing) -> None:
    names = ["black", "white"]
    several = answered(service, drawing, target_instance="1", baseline="black,white")
    each = [answered(service, drawing, target_instance="1", baseline=name) for name in names]
    assert several["difference"] == pytest.approx(np.mean([one["difference"] for one in each]), abs=1e-4)
    assert [one["baseline"] for one in several["baselines"]] == names


BAD = {
    "a detection that is not there": ({"target_instance": "3"}, "target_instance", 400, "detections 0 to 2"),
    "a detection where nothing is": (
        {"target_instance": "0", "score_threshold": "0.99999"}, "target_instance", 422, "no object was found"
    ),
    "a negative detection": ({"target_instance": "-1"}, "target_instance", 400, "index into them"),
    "a detection that is no number": ({"target_instance": "cat"}, "target_instance", 400, "whole number"),
    "a detection beyond any number": ({"target_instance": "9" * 30}, "target_instance", 400, "detections 0 to 2"),
    "an unknown target": ({"target_instance": "0", "target": "box"}, "target", 400, "mask"),
    "a class of a mask": (
        {"target_instance": "0", "target": "mask", "target_class": "bar"}, "target_class", 400, "a mask has no classes"
    ),
    "a mask against a class": (
        {"target_instance": "0", "target": "mask", "against": "bar"}, "against", 400, "a mask has no classes"
    ),
    "a mask's probability": (
        {"target_instance": "0", "target": "mask", "output": "probability"}, "output", 400, "no probability"
    ),
    "a detection against the rest": ({"target_instance": "0", "against": "rest"}, "against", 400, "log-odds"),
    "a detection against all classes": (
        {"target_instance": "0", "against": '["bar", "ring", "star"]'}, "against", 400, "names too"
    ),
    "too many baselines": ({"target_instance": "0", "baseline": "uniform:99"}, "baseline", 400, "1 to 32"),
    "an unknown class": ({"target_instance": "0", "target_class": "cat"}, "target_class", 400, "bar, ring, star"),
    "a threshold over 1": ({"score_threshold": "1.5"}, "score_threshold", 400, "0 to 1"),
    "a threshold that is none": ({"score_threshold": "nan"}, "score_threshold", 400, "0 to 1"),
    "a threshold that is true": ({"score_threshold": "high"}, "score_threshold", 400, "number"),
    "nothing at all": ({"segment": "false"}, "segment", 400, "target_instance"),
    "an attribution of nothing": ({"fields": "integrated_grads"}, "fields", 400, "target_instance"),
    "masks without masks": (
        {"target_instance": "0", "segment": "false", "fields": "pred_masks"}, "fields", 400, "segment=false"
    ),
    "another precision": ({"precision": "bfloat16"}, "precision", 400, "float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_told_what_to_do(service: Service[Any], drawing: Drawing, name: str) -> None:
    fields, field, code, message = BAD[name]
    reply = ask(service, drawing, **fields)
    error = told(reply)
    assert (reply.status, error["code"], error["field"]) == (code, code, field), error
    assert message in error["message"]


def test_what_is_not_used_is_told(service: Service[Any], drawing: Drawing) -> None:
    warnings = answered(service, drawing, n_steps="3", baseline="white", groups="superpixels")["warnings"]
    assert [warning.split()[0] for warning in warnings] == ["`n_steps`", "`baseline`", "`groups`"]


def test_masks_too_large_to_answer_are_refused_before_they_are_made(drawing: Drawing, service: Service[Any]) -> None:
    small = Service("toy", service.network, Settings.model_validate({"max_answer_mb": 1}), torch.device("cpu"))
    large = encoded(np.asarray(Image.fromarray(drawing.pixels).resize((1000, 1000))))
    (reply,) = small.answer([call(data=large)])
    assert (reply.status, told(reply)["type"]) == (413, "AnswerTooLarge")


def test_a_classifier_attributes_itself_and_no_detection() -> None:
    for fields in ({"target_instance": "0"}, {"target": "mask"}):
        (reply,) = small_service().answer([call(data=encoded(pixels()), **fields)])
        assert reply.status == 400
        assert "archive.sh tensormask" in told(reply)["message"]
    for fields, field in (({"segment": "true"}, "segment"), ({"fields": "pred_masks"}, "segment")):
        (reply,) = small_service().answer([call(data=encoded(pixels()), **fields)])
        assert (reply.status, told(reply)["field"]) == (400, field)
        assert "--tensormask" in told(reply)["message"]
    (reply,) = small_service().answer([call(data=encoded(pixels()), format="json", score_threshold="0.3")])
    assert any("`score_threshold` was not used" in warning for warning in told(reply)["warnings"])


def test_a_classifier_with_a_tensormask_answers_with_both(drawing: Drawing, service: Service[Any]) -> None:
    classifier = small_service()
    both = Service(
        "toy",
        type(classifier.network)(
            classifier.network.module, classifier.network.picture, classifier.network.labels, service.network.segmenter
        ),
        Settings.model_validate({"threads": 1, "n_steps": 3}),
        torch.device("cpu"),
    )
    content = tensors(ask(both, drawing, groups="segments"))
    assert content["integrated_grads"].shape == (1, 3, 8, 10)
    assert content["info"]["seen"] == [0, 0, 128, 128]
    assert content["pred_masks"].shape == (3, 128, 128)
    assert content["group_masks"].shape == (4, 8, 10)
    assert [group["kind"] for group in content["info"]["groups"]] == ["segment"] * 3 + ["picture"]
    bare = tensors(ask(both, drawing, segment="false"))
    assert not {"pred_masks", "scores", "pred_boxes"} & bare.keys()
    assert torch.equal(bare["integrated_grads"], content["integrated_grads"])
    assert told(ask(both, drawing, groups="segments", score_threshold="0.99999"))["type"] == "NoSegments"
    assert both.describe()["segments"] == KINDS


def test_objects_are_found_on_the_whole_picture_and_grouped_where_the_classifier_looks(
    drawing: Drawing, service: Service[Any]
) -> None:
    toy = small_service().network
    spec = replace(toy.picture, resizing="crop", crop_pct=0.5)
    network = ImageClassifier(toy.module, spec, toy.labels, service.network.segmenter)
    both = Service("toy", network, Settings.model_validate({"threads": 1, "n_steps": 3}), torch.device("cpu"))
    content = tensors(ask(both, drawing, groups="segments", n_steps="2"))
    assert content["pred_masks"].shape == (3, 128, 128), "of the whole picture"
    x0, y0, x1, y1 = (int(side) for side in content["info"]["seen"])
    inside = content["pred_masks"][:, y0:y1, x0:x1].flatten(1).any(1)
    assert len(content["group_masks"]) == int(inside.sum()) + 1
    assert content["group_masks"][:-1].flatten(1).any(1).all()
