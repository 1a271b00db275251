"""Whatever is wrong with a text, the answer is JSON with the right 4xx that names the field and the remedy."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads.call import Call
from intgrads.integral.batches import integrate
from shared.bad_texts import BAD, FORM
from shared.texts import bert_service, text_call
from shared.toys import NARROW, call, json_call, refused, small_service, told

SERVICE = bert_service(max_text_characters=5000, max_sequences=3, max_answer_mb=1, max_n_steps=1000)


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
    assert SERVICE.answer([Call(data, limit=NARROW)])[0].status == 200


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
