"""A png in a style: the signs in their colours, a title, and a scale that says what they stand for."""

import io
from typing import Any

import numpy as np
import pytest
from intgrads.answers.colours import FRAME, signed_colour
from intgrads.pictures.heat_map import LONGEST_SIDE, SHORTEST_SIDE
from intgrads.pictures.styles import MARGIN, in_style
from intgrads.pictures.transform import PictureSpec
from PIL import Image
from shared.toys import call, encoded, pixels, refused, small_service, told

GREY = np.full((400, 600, 3), 128, np.uint8)
VIEW = PictureSpec(40, 60).view((400, 600))


def halves(left: float, right: float) -> Any:
    attribution = np.zeros((3, 40, 60))
    attribution[:, :, :30], attribution[:, :, 30:] = left, right
    return attribution


def drawn(style: Any, attribution: Any, picture: Any = GREY) -> Any:
    """Return the drawing without what is around it."""
    view = PictureSpec(40, 60).view(picture.shape[:2])
    sheet = in_style(style, picture, attribution, view, title="tabby", figures="of it")
    height, width = picture.shape[:2]
    return sheet[-MARGIN - height : -MARGIN, MARGIN : MARGIN + width].astype(int)


@pytest.mark.parametrize("style", ["overlay", "signed"])
def test_blue_raised_red_lowered(style: str) -> None:
    picture = drawn(style, halves(1, -1))
    left, right = picture[200, 100], picture[200, 500]
    assert left[2] > left[0]
    assert right[0] > right[2]


def test_signed_shows_nothing_of_the_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape, dtype=np.uint8)
    assert (drawn("signed", halves(1, -1), noise) == drawn("signed", halves(1, -1))).all()
    assert (drawn("overlay", halves(1, -1), noise) != drawn("overlay", halves(1, -1))).any()


def test_the_bar_ends_in_the_deepest_colours() -> None:
    sheet = in_style("signed", GREY, halves(1, -1), VIEW, title="tabby", figures="")
    bar = sheet[-MARGIN - 400 : -MARGIN, MARGIN + 600 + MARGIN + 8].astype(int)
    # The bar has 256 steps, and a line around it.
    np.testing.assert_allclose(bar[4], signed_colour(1.0), atol=8)
    np.testing.assert_allclose(bar[-4], signed_colour(-1.0), atol=8)


def test_a_contour_frames_the_least_area_that_carries_half() -> None:
    """A quarter of the area has four times as much as each of the others."""
    attribution = np.zeros((3, 40, 60))
    attribution[:, 10:30, 15:45] = 5
    picture = drawn("contour", attribution)
    framed = (picture == FRAME).all(-1)
    assert framed.any()
    assert (picture[200, 300] == 128).all()
    assert (picture[20, 20] < 128).all()
    rows, columns = np.flatnonzero(framed.any(1)), np.flatnonzero(framed.any(0))
    assert 80 < rows[0] < rows[-1] < 320
    assert 130 < columns[0] < columns[-1] < 470


def test_nothing_to_draw_is_drawn() -> None:
    for style in ("overlay", "signed", "contour"):
        assert np.isfinite(drawn(style, halves(0, 0))).all()
    assert not (drawn("contour", halves(0, 0)) == FRAME).all(-1).any()


def ask(**form: str) -> Any:
    return small_service().answer([call(data=encoded(pixels()), n_steps="3", **form)])[0]


def size(reply: Any) -> tuple[int, int]:
    return Image.open(io.BytesIO(b"".join(reply.body))).size


def test_a_small_picture_is_enlarged_and_the_plain_one_stays_as_it_was() -> None:
    assert size(ask(format="png")) == size(ask(format="png", style="plain")) == (10, 8)
    for style in ("overlay", "signed", "contour"):
        assert min(size(ask(format="png", style=style))) > SHORTEST_SIDE


def test_a_large_photo_is_drawn_smaller() -> None:
    photo = encoded(np.zeros((2000, 4000, 3), np.uint8))
    (reply,) = small_service().answer([call(data=photo, n_steps="3", format="png", style="signed")])
    assert LONGEST_SIDE < max(size(reply)) < 1.3 * LONGEST_SIDE
    told_in_it = Image.open(io.BytesIO(b"".join(reply.body))).info
    assert any("smaller than the picture" in str(text) for text in told_in_it.values())


def test_a_style_that_there_is_not_is_refused_and_one_beside_groups_is_told() -> None:
    refused(ask(format="png", style="rainbow"), 400, "'plain', 'overlay', 'signed' or 'contour'")
    notes = told(ask(format="json", style="signed", groups="superpixels", n_superpixels="4"))["warnings"]
    assert sum("`style` was not used" in note for note in notes) == 2
    assert not any("style" in note for note in told(ask(format="json"))["warnings"])
