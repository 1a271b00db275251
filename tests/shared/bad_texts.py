"""Everything that can be wrong with a request about a text, for a service that allows little."""

from intgrads.call import Call

from shared.texts import text_call
from shared.toys import NARROW, call, encoded, json_call, pixels

JPEG = encoded(pixels(), "JPEG")
FORM = {"content_type": "multipart/form-data"}

BAD: dict[str, tuple[Call, int, str | None, str]] = {
    # name: the call, the status, the field, words of the message
    "nothing at all": (Call(), 400, None, "text/plain"),
    "an empty body": (text_call(b""), 400, None, "empty"),
    "an empty text": (json_call(sequence=""), 400, "sequence", "empty"),
    "only spaces": (text_call(" \n\t "), 400, "data", "empty"),
    "only control characters": (json_call(sequence="\x00\x01\x7f"), 400, "sequence", "empty"),
    "only a zero-width space": (json_call(sequence="\u200b"), 400, "sequence", "empty"),
    "an empty file in a form": (call(**FORM, data=bytearray(b""), format="json"), 400, "data", "empty"),
    "one of two empty": (json_call(sequence=["good", " "]), 400, "sequence", "empty"),
    "no text": (json_call(n_steps=5), 400, "sequence", "no text"),
    "a null text": (json_call(sequence=None), 400, "sequence", "no text"),
    "a number": (json_call(sequence=5), 400, "sequence", "not int"),
    "true": (json_call(sequence=True), 400, "sequence", "not bool"),
    "an object": (json_call(sequence={"a": "b"}), 400, "sequence", "not dict"),
    "a list of numbers": (json_call(sequence=[1, 2]), 400, "sequence", "not int"),
    "a list of lists": (json_call(sequence=[["good"]]), 400, "sequence", "not list"),
    "an empty list": (json_call(sequence=[]), 400, "sequence", "1 to 3"),
    "too many texts": (json_call(sequence=["good"] * 4), 400, "sequence", "1 to 3"),
    "a million texts": (json_call(sequence=[""] * 10**6), 400, "sequence", "1 to 3"),
    "too many characters": (text_call("good " * 1001), 413, "sequence", "5000"),
    "half a character": (json_call(sequence="good \ud800"), 400, "sequence", "half a character"),
    "bytes that are not UTF-8": (text_call(b"good \xff\xfe"), 400, "data", "UTF-8"),
    "UTF-16": (text_call("good".encode("utf-16")), 400, "data", "UTF-8"),
    "Latin-1 in a form": (call(**FORM, data=bytearray("é".encode("latin-1"))), 400, "data", "UTF-8"),
    "Latin-1 in a form's field": (
        call(**FORM, sequence=bytearray("é".encode("latin-1")), n_steps="5"), 400, "sequence", "UTF-8",
    ),
    "two texts": (call(**FORM, data=bytearray(b"good"), sequence="bad"), 400, "sequence", "one text"),
    "data in JSON": (json_call(data="good"), 400, "data", "sequence"),
    "no JSON": (text_call('{"sequence": ', content_type="application/json"), 400, None, "not valid JSON"),
    "a JSON list": (text_call('["good"]', content_type="application/json"), 400, None, "sequence"),
    "a JSON text": (text_call('"good"', content_type="application/json"), 400, None, "sequence"),
    "a picture": (text_call(encoded(pixels()), content_type="image/png"), 415, "data", "takes text"),
    "a JPEG in a form": (call(**FORM, data=bytearray(JPEG), n_steps="5"), 415, "data", "takes text"),
    "an array of pixels": (json_call(img_data=pixels().tolist()), 415, "img_data", "takes text"),
    "base64": (json_call(image="AAAA"), 415, "image", "takes text"),
    "a png": (json_call(sequence="good", format="png"), 400, "format", "html"),
    "only a picture accepted": (text_call("good", accept="image/png"), 406, "Accept", "text/html"),
    "an image's baseline": (json_call(sequence="good", baseline="black"), 400, "baseline", "rand-norm"),
    "an image's tensor": (
        json_call(sequence="good", fields=["integrated_grads"]), 400, "fields", "integrated_gradients",
    ),
    "an unknown label": (json_call(sequence="good", target_class="cat"), 400, "target_class", "negative, positive"),
    "an index too large": (json_call(sequence="good", target_class=3), 400, "target_class", "0 to 2"),
    "no steps": (json_call(sequence="good", n_steps=0), 400, "n_steps", "1 to 1000"),
    "a misspelt field": (json_call(sequences="good"), 400, "sequences", "'sequence'"),
    "an answer too large": (
        json_call(sequence=["good " * 30] * 3, n_steps=1000), 413, "fields", "intermediate_gradients",
    ),
    "a large answer over gRPC": (
        Call(b'{"sequence": "good good good good good good good good", "n_steps": 1000}', limit=NARROW),
        413, "fields", "fewer",
    ),
}  # fmt: skip
