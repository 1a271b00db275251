"""Whatever is wrong with a text, the answer is JSON with the right 4xx that names the field and the remedy."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads.call import Call
from intgrads.integral.batches import integrate
from texts import bert_service, text_call
from toys import NARROW, call, encoded, json_call, pixels, refused, small_service, told

SERVICE = bert_service(max_text_characters=5000, max_sequences=3, max_answer_mb=1, max_n_steps=1000)
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


@pytest.mark.parametrize("name", BAD)
def test_it_is_answered_with_its_field_and_remedy(name: str) -> None:
    bad, status, field, words = BAD[name]
    error = refused(SERVICE.answer([bad])[0], status, words)
    assert error["field"] == field, error


def test_all_of_them_in_one_batch_harm_no_good_one() -> None:
    good = text_call("the camera is good", "application/json")
    replies = SERVICE.answer([*(bad for bad, *_ in BAD.values()), good])
    assert [reply.status for reply in replies] == [status for _, status, *_ in BAD.values()] + [200]
    assert replies[-1].body == SERVICE.answer([good])[0].body


@pytest.mark.parametrize(
    "asked", [json_call(sequence="good"), text_call("the camera is good"), call(**FORM, sequence="good", format="json")]
)
def test_an_archive_of_pictures_that_is_sent_text_says_what_it_takes(asked: Call) -> None:
    error = told(small_service().answer([asked])[0])
    assert error["code"] == 415
    assert "takes pictures" in error["message"]
    assert "image/jpeg" in error["message"]


@pytest.mark.parametrize("data", [b'{"sequence": "good", "format": "json"}', b"the camera is good"])
def test_grpc_brings_json_or_a_text(data: bytes) -> None:
    assert SERVICE.answer([Call(data, limit=NARROW)])[0].status in (200, 413)


def test_one_text_that_is_too_much_work_is_told_so_and_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(forwards: Any, integrals: Any, *rest: Any) -> None:
        if len(integrals[0].path.input) == 4:
            raise RuntimeError("a bug")
        integrate(forwards, integrals, *rest)

    monkeypatch.setattr("intgrads.service.integrate", failing)
    texts = ["the camera is good", "good bad", ["bad", "good bad"]]
    replies = SERVICE.answer([json_call(sequence=text, format="json") for text in texts])
    assert [reply.status for reply in replies] == [200, 500, 500]


@settings(deadline=None, max_examples=100)
@given(raw=st.binary(max_size=120), kind=st.sampled_from(["text/plain", "application/json", "image/jpeg", ""]))
def test_random_bytes_never_break_the_service(raw: bytes, kind: str) -> None:
    reply = SERVICE.answer([text_call(raw, content_type=kind)])[0]
    assert reply.status == 200 or 400 <= told(reply)["code"] < 500


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=80), format=st.sampled_from(["json", "html", "npz", "gzip", "safetensors"]))
def test_random_texts_never_break_the_service(text: str, format: str) -> None:
    reply = SERVICE.answer([json_call(sequence=text, format=format, n_steps=2)])[0]
    assert reply.status == 200 or 400 <= told(reply)["code"] < 500
