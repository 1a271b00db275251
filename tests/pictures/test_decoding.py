"""A picture reaches the network as its sender sees it, whichever way it was sent; what was changed is told."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from intgrads.pictures.decoding import array_picture, decode_picture
from intgrads.pictures.transform import PictureSpec
from PIL import Image
from shared.toys import call, encoded, json_call, pixels, small_service, told

MANY = 10**9


def outputs(*calls: Any) -> list[list[float]]:
    replies = [told(reply) for reply in small_service().answer(list(calls))]
    return [reply["output"][0] for reply in replies]


def test_every_way_of_sending_gives_the_same_numbers() -> None:
    """RGB rows, BGR planes, base64, a form and a bare body, lossless formats: one picture, one result."""
    picture = pixels(11, 13)
    ask = {"format": "json", "fields": ["output"]}
    png = encoded(picture)
    expected, *others = outputs(
        json_call(img_data=picture.tolist(), **ask),
        json_call(img_data=picture[..., ::-1].transpose(2, 0, 1).tolist(), **ask),
        json_call(image=base64.b64encode(png).decode(), **ask),
        json_call(image="data:image/png;base64," + base64.b64encode(png).decode(), **ask),
        call(data=bytearray(png), format="json", fields="output"),
        call(data=bytearray(encoded(picture, "BMP")), format="json", fields="output"),
        call(data=bytearray(encoded(picture, "WEBP", lossless=True)), format="json", fields="output"),
        call(image=base64.b64encode(png).decode(), format="json", fields="output"),
    )
    for other in others:
        assert other == pytest.approx(expected, abs=1e-6)


def test_red_is_red_in_both_array_layouts() -> None:
    red = np.zeros((5, 7, 3), np.uint8)
    red[..., 0] = 255
    bgr = np.zeros((3, 5, 7), np.uint8)
    bgr[2] = 255
    for array in (red, bgr):
        np.testing.assert_array_equal(array_picture(array.tolist(), "img_data", MANY).pixels, red)


def test_normalising_is_what_the_networks_authors_state() -> None:
    spec = PictureSpec(1, 2, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    values = np.array([[[0, 127, 255], [1, 2, 3]]], np.uint8)
    expected = (values.astype(np.float64) - 127) / 128
    np.testing.assert_allclose(spec.normalise(values).numpy(), expected.transpose(2, 0, 1), atol=1e-7)


def test_resizing_is_pillows_and_is_told() -> None:
    picture = pixels(30, 40)
    answer = told(small_service().answer([json_call(img_data=picture.tolist(), format="json")])[0])
    assert answer["picture_size"] == [30, 40]
    assert answer["input_size"] == [8, 10]
    assert any("40 × 30 to the network's 10 × 8" in warning for warning in answer["warnings"])
    spec = PictureSpec(8, 10)
    expected = Image.fromarray(picture).resize((10, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(spec.resize(array_picture(picture.tolist(), "img_data", MANY)), np.asarray(expected))


def test_a_picture_of_the_networks_size_is_not_touched() -> None:
    answer = told(small_service().answer([json_call(img_data=pixels().tolist(), format="json", n_steps=200)])[0])
    assert not any("resized" in warning for warning in answer["warnings"])


def test_a_photo_is_turned_upright_as_its_exif_says() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_picture(encoded(picture, "JPEG", exif=exif.tobytes(), quality=95), None, MANY)
    assert turned.size == (60, 40)
    assert turned.pixels[:, -8:].min() > 200
    assert any("EXIF" in note for note in turned.notes)


def test_transparency_is_laid_on_white_and_told() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3] = 255
    picture = decode_picture(encoded(rgba), None, MANY)
    assert (picture.pixels[:2] == 0).all()
    assert (picture.pixels[2:] == 255).all()
    assert any("transparent" in note for note in picture.notes)
    rgba[..., 3] = 255
    assert decode_picture(encoded(rgba), None, MANY).notes == ()


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = np.array([[0, 257 * 100, 65535]], np.uint16)
    picture = decode_picture(encoded(grey), None, MANY)  # type: ignore[arg-type]
    assert picture.pixels[0, :, 0].tolist() == [0, 100, 255]
    assert any("16-bit" in note for note in picture.notes)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels()).convert(mode).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    picture = decode_picture(buffer.getvalue(), None, MANY)
    assert picture.pixels.shape == (8, 10, 3)


def test_of_an_animation_the_first_frame_is_used_and_that_is_told() -> None:
    frames = [Image.fromarray(np.full((6, 6, 3), grey, np.uint8)) for grey in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    picture = decode_picture(buffer.getvalue(), None, MANY)
    assert (picture.pixels == 10).all()
    assert any("2 frames" in note for note in picture.notes)
