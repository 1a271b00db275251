"""The heat map is bright where the attribution is, dark elsewhere, and never fails on a flat one."""

import numpy as np
from intgrads.pictures.heat_map import heat_map
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
