"""Everything that can be wrong with a request about a picture, for a service that allows little."""

import base64
import io
import struct
import zlib
from typing import Any

from intgrads.call import Call
from PIL import Image

from shared.toys import call, encoded, json_call, pixels

GOOD = pixels().tolist()
JPEG = encoded(pixels(64, 64), "JPEG")


def body(raw: Any, content_type: str = "application/json") -> Call:
    return Call(bytes(raw) if isinstance(raw, bytearray) else raw, content_type=content_type.lower())


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few hundred bytes that states a size it need not have."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "GIF")
    return buffer.getvalue()


def with_value(value: Any) -> list[Any]:
    array: list[Any] = pixels().tolist()
    array[3][4][1] = value
    return array


BAD: dict[str, tuple[Call, int, str | None, str]] = {
    # name: the call, the status, the field, words of the message
    "nothing at all": (Call(), 400, None, "empty"),
    "an empty body": (body(bytearray(b"")), 400, None, "empty"),
    "null": (body(None), 400, None, "empty"),
    "no JSON": (body(bytearray(b'{"img_data": [[')), 400, None, "not valid JSON"),
    "JSON of bytes that are not UTF-8": (body(bytearray(b'{"a": "\xff\xfe"}')), 400, None, "not valid JSON"),
    "JSON nested too deep": (body(bytearray(b"[" * 100_000)), 400, None, "not valid JSON"),
    "a JSON list": (body([1, 2]), 400, None, "JSON object"),
    "a JSON string": (body("cat.jpg"), 400, None, "JSON object"),
    "a JSON number": (body(3), 400, None, "JSON object"),
    "no picture": (json_call(target_class=1), 400, "img_data", "no picture"),
    "an empty object": (json_call(), 400, "img_data", "no picture"),
    "a null picture": (json_call(img_data=None), 400, "img_data", "no picture"),
    "two pictures": (json_call(img_data=GOOD, image="AAAA"), 400, "img_data", "one picture"),
    "data in JSON": (json_call(data="AAAA"), 400, "data", "image"),
    "text as a picture": (body(bytearray(b"hello there"), "image/jpeg"), 415, "data", "JPEG, PNG, WebP or BMP"),
    "a GIF": (call(data=bytearray(gif())), 415, None, "JPEG, PNG, WebP or BMP"),
    "a GIF in base64": (json_call(image=base64.b64encode(gif()).decode()), 415, "image", "convert"),
    "a truncated JPEG": (body(bytearray(JPEG[: len(JPEG) // 2]), "image/jpeg"), 400, "data", "cut short"),
    "a JPEG's first bytes": (body(bytearray(JPEG[:20]), "image/jpeg"), 415, "data", "JPEG"),
    "a truncated PNG": (call(data=bytearray(encoded(pixels())[:-40])), 400, "data", "cut short"),
    "a WAV": (call(data=bytearray(b"RIFF\x10\0\0\0WAVEfmt ")), 415, "data", "JPEG"),
    "a decompression bomb": (call(data=bytearray(bomb(60_000, 60_000))), 413, "data", "smaller"),
    "too many pixels": (call(data=bytearray(encoded(pixels(101, 100)))), 413, "data", "10000"),
    "an array of too many pixels": (json_call(img_data=pixels(101, 100).tolist()), 413, "img_data", "smaller"),
    "not base64": (json_call(image="no base64!"), 400, "image", "base64"),
    "an empty base64": (json_call(image=""), 400, "image", "base64"),
    "an image that is a number": (json_call(image=5), 400, "image", "base64"),
    "raw bytes where base64 belongs": (call(image=bytearray(JPEG)), 400, "image", "base64"),
    "a number for an array": (json_call(img_data=5), 400, "img_data", "(H, W, 3)"),
    "text for an array": (json_call(img_data="[[[1,2,3]]]"), 400, "img_data", "(H, W, 3)"),
    "an object for an array": (json_call(img_data={"a": 1}), 400, "img_data", "(H, W, 3)"),
    "an empty array": (json_call(img_data=[]), 400, "img_data", "(H, W, 3)"),
    "empty rows": (json_call(img_data=[[], []]), 400, "img_data", "(H, W, 3)"),
    "a grey array": (json_call(img_data=pixels()[..., 0].tolist()), 400, "img_data", "grey"),
    "four channels": (json_call(img_data=[[[1, 2, 3, 4]] * 5] * 5), 400, "img_data", "alpha"),
    "a batch of pictures": (json_call(img_data=[GOOD, GOOD]), 400, "img_data", "three axes"),
    "an ambiguous array": (json_call(img_data=pixels(3, 8).tolist()), 400, "img_data", "RGB or BGR"),
    "a ragged array": (json_call(img_data=[*GOOD[:-1], GOOD[-1][:-1]]), 400, "img_data", "ragged"),
    "a ragged pixel": (json_call(img_data=with_value([1, 2])), 400, "img_data", "ragged"),
    "text in the array": (json_call(img_data=with_value("9")), 400, "img_data", "numbers"),
    "null in the array": (json_call(img_data=with_value(None)), 400, "img_data", "numbers"),
    "true among numbers": (json_call(img_data=with_value(True)), 400, "img_data", "true or false"),
    "a long text among short ones": (
        json_call(img_data=["x" * 1_000_000, *[""] * 1000]), 400, "img_data", "numbers",
    ),
    "a deep array": (json_call(img_data=[GOOD]), 400, "img_data", "three axes"),
    "only true and false": (json_call(img_data=[[[True] * 3] * 5] * 5), 400, "img_data", "numbers"),
    "a value of 256": (json_call(img_data=with_value(256)), 400, "img_data", "0 … 255"),
    "a value of -1": (json_call(img_data=with_value(-1)), 400, "img_data", "0 … 255"),
    "a value of 10^400": (json_call(img_data=with_value(10**400)), 400, "img_data", "0 … 255"),
    "NaN": (json_call(img_data=with_value(float("nan"))), 400, "img_data", "0 … 255"),
    "infinity": (json_call(img_data=with_value(float("inf"))), 400, "img_data", "0 … 255"),
    "a picture from 0 to 1": (json_call(img_data=(pixels() / 255).tolist()), 400, "img_data", "multiply by 255"),
    "an unknown label": (json_call(img_data=GOOD, target_class="dog"), 400, "target_class", "tabby"),
    "an empty label": (json_call(img_data=GOOD, target_class=""), 400, "target_class", "labels"),
    "an ambiguous label": (json_call(img_data=GOOD, target_class="crane"), 400, "target_class", "1, 2"),
    "an index of two signs": (call(data=JPEG, target_class="--5"), 400, "target_class", "unknown label"),
    "an index of Arabic digits": (call(data=JPEG, target_class="٣"), 400, "target_class", "unknown label"),
    "half a character as a label": (json_call(img_data=GOOD, target_class="\ud800"), 400, "target_class", "label"),
    "half a character as base64": (json_call(image="\ud800"), 400, "image", "base64"),
    "a million lists as classes": (json_call(img_data=GOOD, target_class=[[]] * 10**6), 400, "target_class", "1 to 4"),
    "a million classes in a form": (call(data=JPEG, target_class=str([0] * 10**6)), 400, "target_class", "1 to 4"),
    "a million tensors": (json_call(img_data=GOOD, fields=["x"] * 10**6), 400, "fields", "0 to 28"),
    "many unknown fields": (json_call(**{f"f{k}": k for k in range(10**5)}), 400, "f0", "unknown"),
    "an index too large": (json_call(img_data=GOOD, target_class=3), 400, "target_class", "0 to 2"),
    "a negative index": (json_call(img_data=GOOD, target_class=-1), 400, "target_class", "0 to 2"),
    "half a class": (json_call(img_data=GOOD, target_class=0.5), 400, "target_class", "label"),
    "true for a class": (json_call(img_data=GOOD, target_class=True), 400, "target_class", "label"),
    "an object for a class": (json_call(img_data=GOOD, target_class={}), 400, "target_class", "label"),
    "no class in the list": (json_call(img_data=GOOD, target_class=[]), 400, "target_class", "1 to 4"),
    "too many classes": (json_call(img_data=GOOD, target_class=[0] * 5), 400, "target_class", "1 to 4"),
    "one bad class of two": (json_call(img_data=GOOD, target_class=[0, "dog"]), 400, "target_class", "dog"),
    "n_steps 0": (json_call(img_data=GOOD, n_steps=0), 400, "n_steps", "1 to 100"),
    "n_steps negative": (json_call(img_data=GOOD, n_steps=-5), 400, "n_steps", "1 to 100"),
    "n_steps huge": (json_call(img_data=GOOD, n_steps=101), 400, "n_steps", "1 to 100"),
    "n_steps beyond all numbers": (json_call(img_data=GOOD, n_steps=10**300), 400, "n_steps", "1 to 100"),
    "n_steps many": (json_call(img_data=GOOD, n_steps="many"), 400, "n_steps", "many"),
    "n_steps in halves": (json_call(img_data=GOOD, n_steps=2.5), 400, "n_steps", "whole number"),
    "n_steps true": (json_call(img_data=GOOD, n_steps=True), 400, "n_steps", "true"),
    "n_steps a list": (json_call(img_data=GOOD, n_steps=[5]), 400, "n_steps", "whole number"),
    "n_steps of a form": (call(data=JPEG, n_steps="ten"), 400, "n_steps", "ten"),
    "n_steps not UTF-8": (call(data=JPEG, n_steps=bytearray(b"\xff\xfe")), 400, "n_steps", "UTF-8"),
    "a trapezoid of one node": (
        json_call(img_data=GOOD, n_steps=1, method="riemann_trapezoid"), 400, "n_steps", "from 2",
    ),
    "an unknown method": (json_call(img_data=GOOD, method="simpson"), 400, "method", "gausslegendre"),
    "an unknown baseline": (json_call(img_data=GOOD, baseline="grey"), 400, "baseline", "black"),
    "a negative seed": (json_call(img_data=GOOD, seed=-1), 400, "seed", "0"),
    "seeds beyond the largest": (
        json_call(img_data=GOOD, baseline="uniform:2", seed=2**63 - 1), 400, "seed", "beyond the largest",
    ),
    "an array as the baseline": (json_call(img_data=GOOD, baseline_data=GOOD), 400, "baseline_data", "[array]"),
    "numbers as baselines": (json_call(img_data=GOOD, baseline_data=[5, 6]), 400, "baseline_data", "there as base64"),
    "an unknown tensor": (json_call(img_data=GOOD, fields=["grads"]), 400, "fields", "integrated_grads"),
    "an unknown format": (json_call(img_data=GOOD, format="xml"), 400, "format", "gzip"),
    "an unacceptable Accept": (call(accept="text/css", data=JPEG), 406, "Accept", "application/gzip"),
    "a png of two targets": (json_call(img_data=GOOD, format="png", target_class=[0, 1]), 400, "target_class", "one"),
    "an unknown field": (json_call(img_data=GOOD, colour=5), 400, "colour", "fields are"),
    "a misspelt field": (json_call(img_data=GOOD, n_step=5), 400, "n_step", "n_steps"),
    "an unknown field of a form": (call(data=JPEG, steps="9"), 400, "steps", "n_steps"),
    "a refinement too large": (
        json_call(img_data=GOOD, tolerance=0.1, target_class=[0] * 4, format="json"), 413, "fields", "max_evaluations",
    ),
    "an answer too large": (
        json_call(
            img_data=GOOD, n_steps=100, fields=["integrated_directional_grads"], target_class=[0] * 4, format="json",
        ), 413, "fields", "fewer",
    ),
}  # fmt: skip
