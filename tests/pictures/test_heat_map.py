"""The heat map is bright where the attribution is, dark elsewhere, and never fails on a flat one."""

import numpy as np
from intgrads.pictures.heat_map import heat_map, signed_map
from intgrads.pictures.transform import PictureSpec

GREY = np.full((60, 80, 3), 128, np.uint8)
VIEW = PictureSpec(30, 40).view((60, 80))


def test_it_is_brightest_where_the_attribution_is() -> None:
    attribution = np.zeros((3, 30, 40), np.float32)
    attribution[:, 8:12, 28:32] = -1.0
    drawn = heat_map(GREY, attribution, VIEW).astype(int).sum(axis=2)
    assert drawn.shape == (60, 80)
    y, x = np.unravel_index(drawn.argmax(), drawn.shape)
    assert abs(y - 20) < 6
    assert abs(x - 60) < 6
    assert drawn[:, :40].max() < 0.6 * drawn.max()


def test_the_frame_is_not_brighter_than_the_inside_for_even_attributions() -> None:
    drawn = heat_map(GREY, np.ones((3, 30, 40), np.float32), VIEW).astype(int).sum(axis=2)
    assert drawn[0].max() <= drawn[30, 40]


def test_no_attribution_is_drawn_as_none() -> None:
    drawn = heat_map(GREY, np.zeros((3, 30, 40), np.float32), VIEW)
    assert (drawn == drawn[0, 0]).all()


def test_the_signed_map_is_blue_where_it_raises_red_where_it_lowers_and_grey_elsewhere() -> None:
    attribution = np.zeros((3, 30, 40), np.float32)
    attribution[:, 8:12, 8:12], attribution[:, 8:12, 28:32] = 1.0, -1.0
    drawn = signed_map(GREY, attribution, VIEW).astype(int)
    red, _, blue = np.moveaxis(drawn, -1, 0)
    assert blue[20, 20] > red[20, 20] + 50
    assert red[20, 60] > blue[20, 60] + 50
    assert drawn[55, 40].tolist() == [128] * 3
    assert (signed_map(GREY, 0 * attribution, VIEW) == 128).all()
