"""The regions of a picture are one nested tree whose leaves share the picture out."""

import numpy as np
import pytest
from intgrads.pictures.regions import RegionTree, region_tree
from numpy.typing import NDArray
from PIL import Image
from skimage import data


def picture(side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(data.coffee()).resize((side, side)))


def check_tree(tree: RegionTree, size: tuple[int, int]) -> None:
    assert tree.masks.shape == (len(tree.parents), *size)
    assert (tree.masks[: tree.leaves].sum(0) == 1).all()
    whole = np.ones(size, bool)
    for number in range(tree.leaves, len(tree.masks) + 1):
        parts = [k for k, parent in enumerate(tree.parents) if parent == number]
        assert len(parts) == (2 if tree.leaves > 1 else 1)
        made = tree.masks[number] if number < len(tree.masks) else whole
        assert (tree.masks[parts].sum(0) == made).all()


@pytest.mark.parametrize("side", [32, 96])
def test_leaves_share_a_picture_out_and_each_merge_is_its_two_parts(side: int) -> None:
    tree = region_tree(picture(side))
    assert 8 < tree.leaves <= 250
    check_tree(tree, (side, side))


def test_what_differs_most_is_merged_last() -> None:
    pixels = np.full((224, 224, 3), 30, np.uint8)
    pixels[56:168, 56:168] = 220
    pixels[56:168, 56:110] = 190  # two shades of one square
    tree = region_tree(pixels)
    square = np.zeros((224, 224), bool)
    square[56:168, 56:168] = True
    last = [k for k, parent in enumerate(tree.parents) if parent == len(tree.masks)]
    shares = [(tree.masks[k] & square).sum() / (tree.masks[k] | square).sum() for k in last]
    assert max(shares) > 0.9


def test_a_picture_of_one_colour_is_one_region() -> None:
    tree = region_tree(np.full((40, 50, 3), 7, np.uint8))
    assert tree.leaves == 1
    check_tree(tree, (40, 50))


def test_noise_makes_no_more_leaves_than_can_be_told() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert region_tree(noise).leaves <= 250


def test_the_same_picture_has_the_same_regions() -> None:
    first, second = region_tree(picture(48)), region_tree(picture(48))
    assert np.array_equal(first.masks, second.masks)
    assert first.parents == second.parents
