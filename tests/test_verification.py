"""`verify` holds an answer to real forward passes; `groups=regions` tells the smallest set that keeps the output."""

from typing import Any

import numpy as np
import pytest
import torch
from intgrads.labels import Labels
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.transform import PictureSpec
from intgrads.service import Service
from intgrads.settings import Settings
from numpy.typing import NDArray
from shared.html_pages import page_of
from shared.texts import bert_service
from shared.toys import json_call, refused, told
from torch import Tensor, nn

SIDE = 32


class InTheMiddle(nn.Module):
    """Two classes: how bright the middle of a picture is, and how dark. It has no other merits."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of pictures (B, 3, 32, 32)."""
        bright = torch.tanh(x[:, :, 8:24, 8:24].mean((1, 2, 3))) * 5
        return torch.stack([bright, -bright], dim=1)


def service(module: nn.Module | None = None) -> Service[ImageClassifier]:
    spec = PictureSpec(height=SIDE, width=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    network = ImageClassifier((module or InTheMiddle()).eval(), spec, Labels(["bright", "dark"]))
    return Service("toy", network, Settings(threads=1), torch.device("cpu"))


def picture() -> NDArray[np.uint8]:
    """Return a bright square in the middle of a grey picture with a bright stripe at its edge."""
    pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
    pixels[8:24, 8:24] = 220
    pixels[:, :4] = 180
    return pixels


def ask(of: Service[Any] | None = None, **content: Any) -> dict[str, Any]:
    asked = {"img_data": picture().tolist(), "n_steps": 10, "format": "json", **content}
    reply = (of or service()).answer([json_call(**asked)])[0]
    assert reply.status == 200, reply.body
    return told(reply)


def test_a_map_is_verified_by_what_the_network_does() -> None:
    answer = ask(verify=True)
    curves = answer["verification"]
    assert curves["deletion"][0] == curves["insertion"][-1] == pytest.approx(answer["value"], rel=1e-6)
    assert curves["deletion"][-1] == curves["insertion"][0] == pytest.approx(answer["baseline_value"], abs=1e-6)
    assert curves["areas"][0] == 0
    assert curves["areas"][-1] == 1
    assert curves["better_than_chance"]
    assert curves["passes"] == 5 * 2 * len(curves["areas"])
    # All of it lies in the middle, a quarter of the picture.
    quarter = curves["areas"].index(0.25)
    assert curves["insertion"][quarter] == pytest.approx(answer["value"], rel=1e-3)
    assert "verification" not in ask()


class UpsideDown(torch.autograd.Function):
    """x, whose gradient has the wrong sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return -gradients[0]


class Wrong(InTheMiddle):
    """The same outputs, with gradients that make every map upside down."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of pictures (B, 3, 32, 32)."""
        return super().forward(UpsideDown.apply(x))


@pytest.mark.parametrize("groups", [None, "superpixels", "regions"])
def test_a_map_upside_down_is_told_to_be_wrong(groups: str | None) -> None:
    asked: dict[str, Any] = {} if groups is None else {"groups": groups, "group_pixels": False}
    right, wrong = ask(verify=True, **asked), ask(service(Wrong()), verify=True, **asked)
    assert right["verification"]["better_than_chance"]
    assert not any("no better than chance" in warning for warning in right["warnings"])
    assert not wrong["verification"]["better_than_chance"]
    assert any(
        "no better than chance: under deletion the output falls no sooner and under insertion the output rises no "
        "sooner" in warning
        for warning in wrong["warnings"]
    )


def test_regions_are_a_tree_and_the_smallest_set_keeps_the_share() -> None:
    answer = ask(groups="regions", kept_share=0.9)
    groups, kept = answer["groups"], answer["kept"]
    assert {group["kind"] for group in groups} == {"region", "picture"}
    assert groups[-1]["parent"] is None
    for place, group in enumerate(groups[:-1]):
        assert group["parent"] > place
        assert group["size"] < groups[group["parent"]]["size"]
        assert group["value"] <= groups[group["parent"]]["value"] + 1e-9
    assert kept["share"] == 0.9
    span = answer["value"] - answer["baseline_value"]
    assert kept["value_of_these"] - answer["baseline_value"] >= 0.9 * span
    assert sum(groups[k]["size"] for k in kept["regions"]) == pytest.approx(kept["area"] * SIDE * SIDE, abs=0.5)
    assert kept["area"] < 0.4  # the square is a quarter
    less = ask(groups="regions", kept_share=0.3)["kept"]
    assert less["area"] <= kept["area"]


def test_what_is_kept_is_what_the_network_says_of_the_picture_cut_out() -> None:
    answer = ask(groups="regions", fields=["group_masks"])
    masks = torch.tensor(answer["group_masks"])[answer["kept"]["regions"]].any(0)
    pixels = torch.from_numpy(picture() / 255.0).permute(2, 0, 1).float()
    with torch.no_grad():
        only, without = InTheMiddle()(torch.stack([pixels * masks, pixels * ~masks]))
    assert answer["kept"]["value_of_these"] == pytest.approx(float(only[0]), rel=1e-4)
    assert answer["kept"]["value_without"] == pytest.approx(float(without[0]), rel=1e-4)


def test_each_target_has_its_own_curves_and_regions() -> None:
    answer = ask(groups="regions", target_class=["bright", "dark"])
    assert len(answer["verification"]) == len(answer["kept"]) == 2
    first, second = answer["verification"]
    np.testing.assert_allclose(first["deletion"][0], -second["deletion"][0], rtol=1e-5)


def test_over_several_baselines_curves_are_the_means() -> None:
    answer = ask(verify=True, baseline=["black", "white"])
    assert answer["verification"]["insertion"][0] == pytest.approx(answer["baseline_value"], rel=1e-5)
    assert answer["verification"]["deletion"][0] == pytest.approx(answer["value"], rel=1e-5)


def test_against_and_probabilities_are_verified_as_what_they_are() -> None:
    questions: tuple[dict[str, Any], ...] = ({"against": "dark"}, {"output": "probability"})
    for asked in questions:
        answer = ask(verify=True, target_class="bright", **asked)
        assert answer["verification"]["deletion"][0] == pytest.approx(answer["value"], rel=1e-5)


def test_texts_are_verified_by_their_tokens_or_words() -> None:
    of_text = bert_service()
    for asked in ({}, {"groups": "words"}):
        reply = of_text.answer([json_call(sequence="the plot is good", verify=True, format="json", **asked)])[0]
        answer = told(reply)
        assert answer["verification"]["deletion"][0] == pytest.approx(answer["value"], rel=1e-4)
        assert answer["verification"]["areas"][-1] == 1


def test_where_both_ends_are_equal_nothing_is_claimed() -> None:
    black = np.zeros((SIDE, SIDE, 3), np.uint8)
    answer = ask(img_data=black.tolist(), groups="regions")
    assert answer["verification"]["deletion_area"] is None
    assert not answer["verification"]["better_than_chance"]
    page = service().answer([json_call(img_data=black.tolist(), groups="regions", format="html")])[0]
    assert page.status == 200


def test_one_or_two_groups_are_held_to_other_orders_alone() -> None:
    masks = np.zeros((SIDE, SIDE), int)
    masks[8:24, 8:24] = 1
    two = ask(verify=True, groups=masks.tolist(), group_pixels=False)  # and what is in none of them
    assert two["verification"]["better_than_chance"]
    one = ask(verify=True, groups=np.ones((SIDE, SIDE), int).tolist(), group_pixels=False)
    assert one["verification"]["deletion_area_by_chance"] == []
    assert not any("chance" in warning for answer in (one, two) for warning in answer["warnings"])
    content = {"img_data": picture().tolist(), "groups": np.ones((SIDE, SIDE), int).tolist(), "verify": True}
    page = service().answer([json_call(**content, format="html")])[0]
    assert "no other order" in b"".join(page.body).decode()


def test_the_same_request_has_the_same_verification() -> None:
    assert ask(groups="regions") == ask(groups="regions")


def test_pages_and_pictures_show_regions() -> None:
    content = {"img_data": picture().tolist(), "groups": "regions"}
    page = service().answer([json_call(**content, format="html")])[0]
    shown = page_of(page)
    assert "keeps 80 % of f(x) − f(x′)" in shown.text
    assert "better than chance" in shown.text
    assert [tag for tag, _ in shown.tags].count("polyline") == 2
    assert all(frame["d"] for frame in shown.of_class("frame") if "data-target" in frame)
    assert service().answer([json_call(**content, format="png")])[0].status == 200


@pytest.mark.parametrize(
    ("content", "field", "words"),
    [
        ({"verify": "perhaps"}, "verify", "boolean"),
        ({"groups": "regions", "kept_share": 0}, "kept_share", "greater than 0"),
        ({"groups": "regions", "kept_share": 1.5}, "kept_share", "less than or equal to 1"),
        ({"groups": "regions", "kept_share": True}, "kept_share", "number"),
        ({"groups": "region"}, "groups", "regions"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(content: dict[str, Any], field: str, words: str) -> None:
    reply = service().answer([json_call(img_data=picture().tolist(), **content)])[0]
    assert refused(reply, 400, words)["field"] == field


def test_what_is_not_about_regions_is_told() -> None:
    answer = ask(groups="superpixels", kept_share=0.5)
    assert any("`kept_share` was not used" in warning for warning in answer["warnings"])
