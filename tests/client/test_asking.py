"""What is sent: a picture or a text, whichever way it is given, with the fields of the request."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intgrads.client import Client, ClientError
from intgrads.client.asking import Source, body
from PIL import Image
from shared.toys import encoded, pixels
from shared.transports import Replies, contents, error


def sent(source: Source | None, text: str | None = None, **options: Any) -> Any:
    return json.loads(body(source, text, options, "json"))


def picture(content: dict[str, str]) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content["image"]))))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF"])
def test_a_file_of_a_picture_is_sent_as_it_is(format: str, tmp_path: Path) -> None:
    raw = encoded(pixels(), format)
    (tmp_path / "cat").write_bytes(raw)
    for source in (tmp_path / "cat", str(tmp_path / "cat"), raw):
        assert base64.b64decode(sent(source)["image"]) == raw


def test_pixels_and_pillows_pictures_are_sent_without_loss() -> None:
    np.testing.assert_array_equal(picture(sent(pixels())), pixels())
    np.testing.assert_array_equal(picture(sent(Image.fromarray(pixels()))), pixels())


@pytest.mark.parametrize("text", ["It is good.", "BMW is good.", "RIFFs are good.", "gut für dich 好", "a\nb\n"])
def test_a_text_is_sent_as_a_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "review.txt").write_text(text, encoding="utf-8")
    assert (
        sent(tmp_path / "review.txt") == sent(text.encode()) == sent(None, text) == {"sequence": text, "format": "json"}
    )


def test_a_mark_of_byte_order_is_no_part_of_a_text() -> None:
    assert sent("good".encode("utf-8-sig"))["sequence"] == "good"


def test_options_are_the_fields_of_the_request() -> None:
    options: dict[str, Any] = {
        "target_class": ["tabby", 3],
        "n_steps": np.int64(7),
        "tolerance": np.float32(0.5),
        "verify": True,
    }
    assert sent(b"good", **options) == {
        "sequence": "good", "target_class": ["tabby", 3], "n_steps": 7, "tolerance": 0.5, "verify": True,
        "format": "json",
    }  # fmt: skip
    assert sent(b"good", baseline_data=np.zeros((2, 2)))["baseline_data"] == [[0, 0], [0, 0]]
    np.testing.assert_array_equal(
        picture({"image": sent(b"x", baseline_data=encoded(pixels()))["baseline_data"]}), pixels()
    )


def test_name_and_key_go_where_the_server_wants_them() -> None:
    replies = Replies(error(404, "ModelNotFoundException"))
    client = Client("http://there/", model="a b/c", key="secret", transport=replies.transport)
    with client, pytest.raises(ClientError):
        client.attribute(text="good")
    (asked,) = replies.asked
    assert str(asked.url) == "http://there/predictions/a%20b%2Fc"
    assert asked.headers["authorization"] == "Bearer secret"
    assert contents(replies.asked) == [{"sequence": "good", "format": "safetensors"}]


@pytest.mark.parametrize(
    ("source", "text", "words"),
    [
        (None, None, "give one input"),
        (b"good", "good", "give one input"),
        (b"", None, "is empty"),
        ("It is good.", None, "a text is given as `text`"),
        (Path("/"), None, "directory"),
        (np.zeros((2, 2, 3), np.float32), None, "uint8"),
    ],
)
def test_what_cannot_be_sent_is_told(source: Source | None, text: str | None, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        sent(source, text)


def test_an_option_that_no_request_can_hold_is_told() -> None:
    with pytest.raises(TypeError, match="cannot hold set"):
        sent(b"good", target_class={"tabby"})
