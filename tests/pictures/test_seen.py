"""The answer tells which rectangle of the picture the network saw; maps, masks and groups go through it both ways."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.errors import RequestError
from intgrads.integral.groups import group_values
from intgrads.labels import Labels
from intgrads.pictures.baselines import IMAGE_BASELINES, ImageBaseline
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.pictures.group_map import group_map
from intgrads.pictures.groups import callers_groups, segments
from intgrads.pictures.heat_map import heat_map, unseen
from intgrads.pictures.run_lengths import encode_mask
from intgrads.pictures.transform import PictureSpec
from intgrads.service import Service
from intgrads.settings import Resizing, Settings
from numpy.typing import NDArray
from PIL import Image
from shared.toys import LABELS, call, encoded, pixels, refused, told
from torch import Tensor, nn

MODES: list[Resizing] = ["crop", "squash", "pad"]
SIDE = 32
WIDE = (60, 200)
FRAME = PictureSpec(SIDE, SIDE, resizing="crop", crop_pct=0.875).view(WIDE)


class Spot(nn.Module):
    """A network that reads one pixel of its input: f_c(x) = (c + 1) Σ x[:, row, column]."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column
        self.factors = nn.Parameter(torch.arange(1.0, 1 + len(LABELS)))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.row, self.column].sum(1, keepdim=True) * self.factors


class Everywhere(nn.Module):
    """A network whose gradient is 1 at every pixel, padding too: f_c(x) = (c + 1) Σ x."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.arange(1.0, 1 + len(LABELS)))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True) * self.factors


def service(module: nn.Module, resizing: Resizing = "crop", crop_pct: float = 0.875) -> Service[ImageClassifier]:
    spec = PictureSpec(SIDE, SIDE, (0.2, 0.4, 0.6), (0.5,) * 3, "bilinear", resizing, crop_pct)
    network = ImageClassifier(module.eval().requires_grad_(False), spec, Labels(LABELS))
    return Service("toy", network, Settings.model_validate({"threads": 1, "n_steps": 3}), torch.device("cpu"))


def ask(service: Service[Any], picture: NDArray[np.uint8], **fields: Any) -> bytes:
    (reply,) = service.answer([call(data=bytearray(encoded(picture)), **fields)])
    assert reply.status == 200, reply.body
    return b"".join(reply.body)


def answered(service: Service[Any], picture: NDArray[np.uint8], **fields: Any) -> dict[str, Any]:
    (reply,) = service.answer([call(data=bytearray(encoded(picture)), format="json", **fields)])
    assert reply.status == 200, reply.body
    return told(reply)


def tensors(service: Service[Any], picture: NDArray[np.uint8], **fields: Any) -> dict[str, Any]:
    content = gzip.decompress(ask(service, picture, **fields))
    found: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return found


@pytest.mark.parametrize(
    ("spec", "picture", "seen"),
    [
        (PictureSpec(224, 224, resizing="crop", crop_pct=0.875), (300, 451), (93.9583, 18.75, 357.0417, 281.25)),
        (PictureSpec(224, 224, resizing="crop"), (300, 600), (150, 0, 450, 300)),
        (PictureSpec(224, 224, resizing="squash"), (300, 451), (0, 0, 451, 300)),
        (PictureSpec(224, 224, resizing="squash", crop_pct=0.875), (256, 512), (32, 16, 480, 240)),
        (PictureSpec(50, 50, resizing="pad"), (100, 200), (0, -48, 200, 152)),
        (PictureSpec(50, 100, resizing="crop"), (100, 100), (0, 25, 100, 75)),
        (PictureSpec(8, 10), (8, 10), (0, 0, 10, 8)),
    ],
)
def test_the_rectangle(spec: PictureSpec, picture: tuple[int, int], seen: tuple[float, ...]) -> None:
    assert spec.view(picture).seen == pytest.approx(seen, abs=1e-3)


@pytest.mark.parametrize("resizing", MODES)
@pytest.mark.parametrize("size", [(60, 200), (200, 60), (90, 91), (40, 250)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.8])
def test_what_the_network_sees_comes_from_the_rectangle(
    resizing: Resizing, size: tuple[int, int], crop_pct: float
) -> None:
    """Where red is the column and green the row of a picture, the network's pixels tell where they are from."""
    height, width = size
    spec = PictureSpec(SIDE, SIDE, interpolation="bilinear", resizing=resizing, crop_pct=crop_pct)
    view = spec.view(size)
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    got = spec.resize(Picture(np.stack([columns, rows, 0 * rows], axis=2))).astype(float)
    x0, y0, x1, y1 = view.seen
    at_x = x0 + (np.arange(SIDE) + 0.5) * (x1 - x0) / SIDE - 0.5
    at_y = y0 + (np.arange(SIDE) + 0.5) * (y1 - y0) / SIDE - 0.5
    scale = max((x1 - x0) / SIDE, (y1 - y0) / SIDE)
    for values, at, end in ((got[..., 0], at_x[None], width), (got[..., 1], at_y[:, None], height)):
        expected = np.broadcast_to(at, values.shape)
        # The filter is cut off at the picture's edges.
        safe = (expected > scale) & (expected < end - 1 - scale)
        safe[:, [k for k in range(SIDE) if not 0 <= at_x[k] < width]] = False
        safe[[k for k in range(SIDE) if not 0 <= at_y[k] < height]] = False
        assert safe.any()
        assert np.abs(values - expected)[safe].max() <= 1.01


@pytest.mark.parametrize("resizing", MODES)
@pytest.mark.parametrize("size", [(60, 200), (200, 60), (300, 301), (20, 24)])
def test_the_heat_map_lies_where_the_network_looked(resizing: Resizing, size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 128, np.uint8)
    row, column = 12, 19
    toy = service(Spot(row, column), resizing)
    answer = answered(toy, picture, baseline="white")
    assert answer["picture_size"] == list(size)
    x0, y0, x1, y1 = answer["seen"]
    drawn = np.asarray(Image.open(io.BytesIO(ask(toy, picture, format="png", baseline="white")))).astype(int)
    assert drawn.shape == (*size, 3)
    # Bright parts are warm, where the picture and what was not seen are grey.
    warmth = np.where(drawn[..., 0] > drawn[..., 2], drawn.sum(2), 0)
    y, x = np.unravel_index(warmth.argmax(), warmth.shape)
    assert abs(x + 0.5 - (x0 + (column + 0.5) * (x1 - x0) / SIDE)) <= (x1 - x0) / SIDE
    assert abs(y + 0.5 - (y0 + (row + 0.5) * (y1 - y0) / SIDE)) <= (y1 - y0) / SIDE
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside = (columns > x0) & (columns < x1) & (rows > y0) & (rows < y1)
    hatched = np.repeat(unseen(picture[..., 0], 0, size)[..., None], 3, axis=2)
    outside = np.broadcast_to(~inside[..., None], drawn.shape)
    assert np.array_equal(drawn[outside], hatched[outside])
    assert not (drawn == hatched).all(2)[inside].any(), "no attribution looks other than unseen"


def test_what_was_not_seen_is_drawn_the_same_in_every_band_of_rows() -> None:
    tall = pixels(1000, 40)
    view = PictureSpec(SIDE, SIDE, resizing="crop").view((1000, 40))
    drawn = heat_map(tall, np.zeros((3, SIDE, SIDE), np.float32), view)
    grey = np.asarray(Image.fromarray(tall).convert("L"))
    assert np.array_equal(drawn[:480, :, 0], unseen(grey, 0, (1000, 40))[:480])
    assert np.array_equal(drawn[520:, :, 0], unseen(grey, 0, (1000, 40))[520:])
    assert np.ptp(drawn[480:520, :, 0]) > 0


@pytest.mark.parametrize(
    ("resizing", "crop_pct", "size", "words"),
    [
        ("crop", 0.875, (60, 200), "resized and cropped from 200 × 60 to the network's 32 × 32: the network saw x "),
        ("crop", 0.875, (SIDE, SIDE), "resized and cropped from 32 × 32 to the network's 32 × 32: the network saw x "),
        ("crop", 1.0, (SIDE, 50), "was cropped from 50 × 32 to the network's 32 × 32: the network saw x 9 to 41 and"),
        ("crop", 1.0, (50, 50), "was resized from 50 × 50 to the network's 32 × 32"),
        ("squash", 1.0, (60, 200), "was resized from 200 × 60 to the network's 32 × 32"),
        ("pad", 1.0, (60, 200), "resized and padded from 200 × 60 to the network's 32 × 32; the padding carries no"),
        ("pad", 0.8, (60, 200), "resized, cropped and padded from 200 × 60 to the network's 32 × 32: the network saw"),
        ("pad", 1.0, (10, SIDE), "was padded from 32 × 10 to the network's 32 × 32; the padding"),
        ("crop", 1.0, (SIDE, SIDE), None),
        ("pad", 1.0, (SIDE, SIDE), None),
    ],
)
def test_what_was_done_to_the_picture_is_told(
    resizing: Resizing, crop_pct: float, size: tuple[int, int], words: str | None
) -> None:
    answer = answered(service(Everywhere(), resizing, crop_pct), pixels(*size))
    warnings = [warning for warning in answer["warnings"] if "picture was" in warning]
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]
    assert any("not seen" in warning for warning in warnings) == (words is not None and "network saw" in words)
    spec = PictureSpec(SIDE, SIDE, resizing=resizing, crop_pct=crop_pct)
    assert answer["seen"] == list(spec.view(size).seen)
    assert tensors(service(Everywhere(), resizing, crop_pct), pixels(*size))["info"]["seen"] == answer["seen"]


@pytest.mark.parametrize("baseline", IMAGE_BASELINES)
def test_padding_carries_no_attribution(baseline: ImageBaseline) -> None:
    answer = tensors(service(Everywhere(), "pad", 1.0), pixels(10, 40), baseline=baseline, groups="superpixels")
    inside = np.zeros((SIDE, SIDE), bool)
    inside[12:20] = True
    gradients = answer["integrated_grads"][0].abs().sum(0).numpy()
    assert (gradients[~inside] == 0).all()
    assert (gradients[inside] > 0).any()
    assert np.ptp(answer["intermediates"].numpy()[..., ~inside], axis=0).max() == 0
    assert answer["integrated_grads"].sum().item() == pytest.approx(answer["info"]["difference"], rel=1e-3, abs=1e-3)
    masks = answer["group_masks"].numpy()
    assert np.array_equal(masks[:-1].sum(0), inside), "superpixels share out the picture, not the padding"
    assert masks[-1].all()


def test_the_black_border_of_a_crop_pct_over_one_carries_no_attribution() -> None:
    answer = tensors(service(Everywhere(), "crop", 1.15), pixels(60, 60), baseline="white")
    carried = answer["integrated_grads"][0].abs().sum(0) > 0
    assert carried[2:-3, 2:-3].all()
    assert not carried[:2].any()
    assert not carried[:, -2:].any()
    x0, _, x1, _ = answer["info"]["seen"]
    assert x0 < 0
    assert x1 > 60


def test_the_baseline_of_a_padded_picture_is_made_of_the_picture() -> None:
    """White bars above and below would make the mean of a black picture grey."""
    answer = tensors(
        service(Everywhere(), "pad", 1.0), np.full((10, 40, 3), 90, np.uint8), baseline="mean", method="riemann_left"
    )
    first = answer["intermediates"][0]
    expected = (torch.tensor([90 / 255]) - torch.tensor([0.2, 0.4, 0.6])) / 0.5
    torch.testing.assert_close(first[:, 16, 16], expected, atol=1e-6, rtol=0)


def label_map(size: tuple[int, int]) -> NDArray[np.int64]:
    """Return four groups of a wide picture: left and right of what the network sees, and two halves of that."""
    x0, _, x1, _ = FRAME.seen
    columns = np.arange(size[1]) * WIDE[1] / size[1] + 0.5 * WIDE[1] / size[1]
    names = np.select([columns < x0 - 5, columns < (x0 + x1) / 2, columns < x1 + 5], [1, 2, 3], 4)
    return np.repeat(names[None], size[0], axis=0)


def test_groups_of_the_pictures_size_go_with_the_picture() -> None:
    found = callers_groups(label_map(WIDE).tolist(), FRAME)
    assert found.labels == ["label 2", "label 3"]
    assert found.masks[0, :, :16].all()
    assert found.masks[1, :, 16:].all()
    assert not (found.masks[0] & found.masks[1]).any()
    assert "cropped as the picture was, from 200 × 60 to the network's 32 × 32" in found.notes[0]
    assert "outside of what the network saw, and left out: label 1, label 4" in found.notes[1]


def test_masks_and_segments_go_with_the_picture_too() -> None:
    masks = [label_map(WIDE) == value for value in (1, 2, 3, 4)]
    encoded_masks = [encode_mask(mask) | {"label": name} for mask, name in zip(masks, "abcd", strict=True)]
    for found in (callers_groups(encoded_masks, FRAME), segments(np.stack(masks), list("abcd"), FRAME)):
        assert found.labels == ["b", "c"]
        assert np.array_equal(found.masks, callers_groups(label_map(WIDE).tolist(), FRAME).masks)
        assert "left out: a, d" in found.notes[1]


def test_groups_of_the_networks_size_are_taken_as_they_are() -> None:
    own = np.repeat([[1] * 8 + [2] * 24], SIDE, axis=0)
    found = callers_groups(own.tolist(), FRAME)
    assert np.array_equal(found.masks, [own == 1, own == 2])
    assert not found.notes


def test_groups_of_both_sizes_are_the_pictures_where_these_are_equal() -> None:
    view = PictureSpec(SIDE, SIDE, resizing="crop", crop_pct=0.5).view((SIDE, SIDE))
    assert view.seen == (8, 8, 24, 24)
    found = callers_groups(np.repeat([[1] * 8 + [2] * 24], SIDE, axis=0).tolist(), view)
    assert found.labels == ["label 2"]
    assert found.masks.all()


def test_a_group_in_a_corner_of_what_is_seen_is_there() -> None:
    x0, y0, x1, y1 = FRAME.seen
    labels = np.zeros(WIDE, int)
    labels[int(y0) + 1 : int((y0 + y1) / 2), int((x0 + x1) / 2) : int(x1)] = 7
    (mask,) = callers_groups(labels.tolist(), FRAME).masks
    assert mask[2:15, 17:30].all()
    assert not mask[17:].any()
    assert not mask[:, :15].any()


@pytest.mark.parametrize("value", [1, 4])
def test_groups_that_are_all_outside_are_refused(value: int) -> None:
    with pytest.raises(RequestError, match=r"sees none of the groups.*x 73\.\d to 126\.\d.*resize=pad") as error:
        callers_groups(np.where(label_map(WIDE) == value, 1, 0).tolist(), FRAME)
    assert (error.value.status, error.value.field) == (422, "groups")


def test_groups_that_are_all_outside_are_refused_by_the_service() -> None:
    masks = np.where(label_map(WIDE) == 1, 1, 0).astype(np.uint8)
    fields: dict[str, Any] = {"data": bytearray(encoded(pixels(*WIDE))), "groups": bytearray(encoded(masks))}
    (reply,) = service(Everywhere()).answer([call(**fields)])
    refused(reply, 422, "sees none of the groups")
    whole = np.ones(WIDE, np.uint8)
    answer = answered(service(Everywhere()), pixels(*WIDE), groups=bytearray(encoded(whole)))
    assert [group["size"] for group in answer["groups"]] == [SIDE * SIDE] * 2


def test_padding_is_in_no_group_of_the_pictures_size() -> None:
    view = PictureSpec(SIDE, SIDE, resizing="pad").view((10, 40))
    (mask,) = callers_groups(np.ones((10, 40), int).tolist(), view).masks
    expected = np.zeros((SIDE, SIDE), bool)
    expected[12:20] = True
    assert np.array_equal(mask, expected)


def test_the_attribution_of_a_spot_is_that_of_the_group_it_lies_in() -> None:
    toy = service(Spot(12, 19))
    labels = bytearray(encoded(label_map(WIDE).astype(np.uint8)))
    answer = answered(toy, pixels(*WIDE), groups=labels, group_pixels="false")
    carried = {group["label"]: group["integrated_gradients"] for group in answer["groups"]}
    assert carried["label 2"] == 0
    assert carried["label 3"] == pytest.approx(answer["difference"], rel=1e-4)


@pytest.mark.parametrize("resizing", MODES)
def test_groups_are_drawn_where_they_lie(resizing: Resizing) -> None:
    size = (400, 600)
    view = PictureSpec(SIDE, SIDE, resizing=resizing, crop_pct=1.0 if resizing == "pad" else 0.8).view(size)
    masks = np.zeros((1, SIDE, SIDE), bool)
    masks[0, 10:20, 20:26] = True
    grey = np.full((*size, 3), 100, np.uint8)
    values = group_values(np.ones((SIDE**2, 1)), np.ones((SIDE**2, 1)), masks.reshape(1, -1))
    drawn = group_map(grey, masks, ["one"], values, view, difference=1.0)[:, : size[1]].astype(int)
    x0, y0, x1, y1 = view.seen
    scale_x, scale_y = (x1 - x0) / SIDE, (y1 - y0) / SIDE
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside = (columns > x0) & (columns < x1) & (rows > y0) & (rows < y1)
    blue = drawn[..., 2] - drawn[..., 0] > 10
    blue_rows, blue_columns = np.nonzero(blue)
    assert blue_columns.min() == pytest.approx(x0 + 20 * scale_x, abs=3)
    assert blue_columns.max() == pytest.approx(x0 + 26 * scale_x, abs=3)
    assert blue_rows.min() == pytest.approx(y0 + 10 * scale_y, abs=3)
    assert blue_rows.max() == pytest.approx(y0 + 20 * scale_y, abs=3)
    assert np.array_equal(drawn[~inside][:, 0], unseen(grey[..., 0], 0, size)[~inside])


@pytest.mark.parametrize(("resizing", "cropped"), [("crop", True), ("squash", False), ("pad", False)])
def test_a_page_says_what_was_not_seen(resizing: Resizing, cropped: bool) -> None:
    crop_pct = 0.875 if resizing == "crop" else 1.0
    page = ask(service(Everywhere(), resizing, crop_pct), pixels(*WIDE), groups="superpixels", format="html").decode()
    assert ("grey: not seen by the network" in page) is cropped


@pytest.mark.parametrize("resizing", MODES)
@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (2, 3)])
def test_pictures_of_any_shape_are_answered_and_drawn(resizing: Resizing, size: tuple[int, int]) -> None:
    toy = service(Everywhere(), resizing)
    for fields in ({"format": "png"}, {"format": "png", "groups": "superpixels"}, {"format": "html"}):
        assert ask(toy, pixels(*size), **fields)
    answer = answered(toy, pixels(*size), groups="superpixels", superpixel_method="watershed")
    assert answer["groups"][-1]["value"] == pytest.approx(1)
    everything = bytearray(encoded(np.ones(size, np.uint8)))
    assert answered(toy, pixels(*size), groups=everything)["groups"][0]["size"] > 0


def test_a_networks_own_size_is_told_beside_the_rectangle() -> None:
    answer = answered(service(Everywhere()), pixels(*WIDE))
    assert (answer["picture_size"], answer["input_size"]) == ([60, 200], [SIDE, SIDE])
