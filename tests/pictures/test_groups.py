"""Groups of pixels cover what they say, at the network's size; none is lost; what is no group is refused."""

from typing import Any

import numpy as np
import pytest
from intgrads.errors import RequestError
from intgrads.pictures.groups import callers_groups, segments, superpixels
from intgrads.pictures.request import SuperpixelMethod
from intgrads.pictures.run_lengths import encode_mask
from intgrads.pictures.transform import PictureSpec
from PIL import Image
from shared.toys import pixels

PICTURE, NETWORK = (20, 30), (10, 15)
VIEW = PictureSpec(*NETWORK).view(PICTURE)


@pytest.mark.parametrize("method", ["slic", "watershed"])
@pytest.mark.parametrize("side", [32, 100, 224])
def test_superpixels_share_the_picture_out(method: SuperpixelMethod, side: int) -> None:
    blurred = Image.fromarray(pixels(8, 8)).resize((side, side), Image.Resampling.BICUBIC)
    found = superpixels(np.asarray(blurred), method, None)
    assert (found.masks.sum(0) == 1).all()
    assert 8 <= len(found.masks) == len(found.labels) <= 80
    again = superpixels(np.asarray(blurred), method, None)
    assert np.array_equal(found.masks, again.masks)
    assert len(superpixels(np.asarray(blurred), method, 4).masks) < len(found.masks)


def test_a_label_map_is_a_group_for_each_value_but_zero() -> None:
    labels = np.zeros(NETWORK, int)
    labels[:5], labels[5:, 7:] = 3, 9
    found = callers_groups(labels.tolist(), VIEW)
    assert found.labels == ["label 3", "label 9"]
    assert np.array_equal(found.masks, [labels == 3, labels == 9])
    assert not found.notes


def test_masks_may_overlap_and_have_labels() -> None:
    masks = np.zeros((2, *NETWORK), bool)
    masks[0, :6], masks[1, 4:] = True, True
    groups = [encode_mask(masks[0]) | {"label": "upper"}, encode_mask(masks[1])]
    found = callers_groups(groups, VIEW)
    assert found.labels == ["upper", "mask 1"]
    assert np.array_equal(found.masks, masks)


def test_masks_of_the_pictures_size_are_resized_and_small_ones_kept() -> None:
    labels = np.zeros(PICTURE, int)
    labels[:10, :20], labels[17, 25] = 1, 2
    found = callers_groups(labels.tolist(), VIEW)
    expected = np.zeros((2, *NETWORK), bool)
    expected[0, :5, :10], expected[1, 8, 12] = True, True
    assert np.array_equal(found.masks, expected)
    assert "resized from 30 × 20 to the network's 15 × 10" in found.notes[0]
    assert "too small" in found.notes[1]
    assert "label 2" in found.notes[1]


def test_segments_are_those_that_were_found() -> None:
    masks = np.zeros((3, *PICTURE), bool)
    masks[0, :8], masks[2, 4:] = True, True
    found = segments(masks, ["dog", "ghost", "cat"], VIEW)
    assert (found.kind, found.labels, found.masks.shape) == ("segment", ["dog", "cat"], (2, *NETWORK))
    with pytest.raises(RequestError, match="no object was found") as refused:
        segments(masks[:0], [], VIEW)
    assert refused.value.status == 422


def test_masks_may_be_of_either_size() -> None:
    found = callers_groups([FULL, {"size": [20, 30], "counts": [0, 600]}], VIEW)
    assert found.masks.all()
    assert "resized" in found.notes[0]


def test_labels_are_text_that_can_be_sent() -> None:
    groups = [FULL | {"label": label} for label in ("\ud800x", None, 7, "y" * 1000)]
    assert callers_groups(groups, VIEW).labels == ["?x", "mask 1", "mask 2", "y" * 100]


def test_more_pixels_than_can_be_resized_in_time_are_refused() -> None:
    large = {"size": [5000, 5000], "counts": [0, 25_000_000]}
    view = PictureSpec(*NETWORK).view((5000, 5000))
    with pytest.raises(RequestError, match="network's size, or fewer") as refused:
        callers_groups([large] * 60, view)
    assert refused.value.status == 413
    assert len(callers_groups([FULL] * 60, view).masks) == 60, "the error's own advice helps"


def test_fewer_superpixels_than_asked_for_are_told() -> None:
    flat = np.full((32, 32, 3), 128, np.uint8)
    assert "about 2 superpixels were asked for" in superpixels(flat, "slic", 2).notes[0]


FULL = {"size": [10, 15], "counts": [0, 150]}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[1, 2], [3]], "must be segments, superpixels, regions, a label map"),
        ([[1.5] * 15] * 10, "must be segments, superpixels, regions, a label map"),
        (["a"], "must be segments, superpixels, regions, a label map"),
        ("objects", "must be segments, superpixels, regions, a label map"),
        ({}, "must be segments, superpixels, regions, a label map"),
        ([], "must be segments, superpixels, regions, a label map"),
        ([[1] * 10] * 15, "label map is 15 × 10; send it in the picture's size, 20 × 30"),
        ([[0] * 15] * 10, "1 to 1000 groups, got 0"),
        ([FULL] * 1001, "1 to 1000 groups, got 1001"),
        ([{"size": [10, 15], "counts": [150]}], "mask 0 is empty"),
        ([{"size": [10.0, 15], "counts": [0, 150]}], r"mask 0 has the size \[10.0, 15\]"),
        ([[2**63 + 5] * 15] * 10, "must be segments, superpixels, regions, a label map"),
        ([FULL, {"size": [5, 5], "counts": [25]}], r"mask 1 has the size \[5, 5\]"),
    ],
)
def test_bad_groups_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        callers_groups(groups, VIEW)
    assert refused.value.field == "groups"
