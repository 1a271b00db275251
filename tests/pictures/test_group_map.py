"""Groups are drawn in the colour of their sign, the strongest deepest, at a size on which numbers can be read."""

from typing import Any

import numpy as np
from intgrads.answers.colours import signed_colour
from intgrads.integral.groups import group_values
from intgrads.pictures.group_map import group_map
from intgrads.pictures.heat_map import LONGEST_SIDE, SHORTEST_SIDE, drawing_scale
from intgrads.pictures.transform import PictureSpec
from shared.toys import call, encoded, small_service

GREY = np.full((40, 60, 3), 128, np.uint8)
VIEW = PictureSpec(4, 6).view((40, 60))
MASKS = np.zeros((3, 4, 6), bool)
MASKS[0, :, :2], MASKS[1, :, 2:4], MASKS[2] = True, True, True


def test_blue_raised_red_lowered() -> None:
    attributions = np.zeros((4, 6))
    attributions[:, :2], attributions[:, 2:4] = 2, -1
    values = group_values(attributions.reshape(-1, 1), np.ones((24, 1)), MASKS.reshape(3, -1)).of([0, 1])
    drawn = group_map(GREY, MASKS[:2], ["left", "middle"], values, VIEW, difference=1.0).astype(int)
    height, width = SHORTEST_SIDE, SHORTEST_SIDE * 60 // 40
    assert drawn.shape[0] == height
    assert drawn.shape[1] > width
    left, middle, right = (drawn[10, int(width * part)] for part in (0.05, 0.4, 0.9))
    assert left[2] - left[0] > middle[0] - middle[2] > 0
    assert (right == 128).all()


def test_no_value_is_no_colour() -> None:
    values = group_values(np.zeros((24, 1)), np.ones((24, 1)), MASKS.reshape(3, -1)).of([0, 1])
    drawn = group_map(GREY, MASKS[:2], ["left", "middle"], values, VIEW, difference=1.0)
    red, green, blue = signed_colour(0.0).tolist()
    assert max(red, green, blue) - min(red, green, blue) < 3
    assert np.ptp(drawn[10, 10].astype(int)) < 3


def test_a_picture_of_one_row_is_not_enlarged_to_a_wall() -> None:
    _, (width, height) = drawing_scale(np.zeros((1, 3000, 3), np.uint8))
    assert width <= LONGEST_SIDE
    assert height >= 1


def test_a_large_photo_is_drawn_smaller_and_the_answer_says_so() -> None:
    photo = np.zeros((1500, 3000, 3), np.uint8)
    values = group_values(np.ones((24, 1)), np.ones((24, 1)), MASKS.reshape(3, -1)).of([0, 1])
    drawn = group_map(
        photo, MASKS[:2], ["left", "middle"], values, PictureSpec(4, 6).view((1500, 3000)), difference=1.0
    )
    assert drawn.shape[0] == 1024
    body: dict[str, Any] = {"data": encoded(photo), "n_steps": "1", "groups": "superpixels", "n_superpixels": "4"}
    for format, told in (("png", True), ("json", False)):
        (reply,) = small_service().answer([call(**body, format=format)])
        assert reply.status == 200
        assert (b"2048 x 1024 pixels, smaller" in b"".join(reply.body)) is told
    (alone,) = small_service().answer([call(data=body["data"], n_steps="1", format="png")])
    assert b"smaller than the picture" not in b"".join(alone.body)
    (page,) = small_service().answer([call(data=body["data"], n_steps="1", format="html")])
    assert "on this page 1024 × 512" in b"".join(page.body).decode()
