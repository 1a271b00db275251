"""Whatever is wrong with a request, the answer is JSON with the right 4xx that names the field and the remedy."""

import base64
import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads.call import Call
from shared.bad_requests import BAD, GOOD, JPEG, body, with_value
from shared.toys import NARROW, encoded, json_call, pixels, refused, small_service, told

SERVICE = small_service(max_picture_pixels=10_000, max_n_steps=100, max_answer_mb=1, max_targets=4)


@pytest.mark.parametrize("name", BAD)
def test_it_is_answered_with_its_field_and_remedy(name: str) -> None:
    bad, status, field, words = BAD[name]
    error = refused(SERVICE.answer([bad])[0], status, words)
    if field is not None:
        assert error["field"] == field, error
    assert "Traceback" not in error["message"]


def test_all_of_them_in_one_batch_harm_no_good_one() -> None:
    good = json_call(img_data=GOOD, format="json")
    replies = SERVICE.answer([*(bad for bad, *_ in BAD.values()), good])
    assert [reply.status for reply in replies] == [status for _, status, *_ in BAD.values()] + [200]
    assert told(replies[-1]) == told(SERVICE.answer([good])[0])


def test_a_network_that_gives_no_numbers_says_so() -> None:
    import torch

    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x.flatten(1)[:, :3] * 0)

    for options in ({}, {"tolerance": 0.1}):
        error = told(small_service(Broken()).answer([json_call(img_data=GOOD, **options)])[0])
        assert (error["code"], error["type"]) == (422, "NotFinite")


def test_a_failure_of_our_own_is_told_as_one_and_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    service = small_service()
    fine = service._read

    def read(asked: Call) -> Any:
        if asked is odd:
            raise RuntimeError("a bug")
        return fine(asked)

    odd, good = json_call(img_data=GOOD, n_steps=3), json_call(img_data=GOOD, format="json")
    monkeypatch.setattr(service, "_read", read)
    replies = service.answer([good, odd, good])
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert told(replies[1])["type"] == "InternalError"


def test_work_beyond_the_time_allowed_is_refused_and_what_was_done_is_answered() -> None:
    service = small_service(response_timeout=1)
    service.chunk_rows = 5
    calls = 0
    module = service.network.module

    def slow(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:  # after the ends of the large one and all of the small one
            time.sleep(1.1)

    handle = module.register_forward_pre_hook(slow)
    replies = service.answer([json_call(img_data=GOOD, n_steps=50), json_call(img_data=GOOD, n_steps=3, format="json")])
    handle.remove()
    assert [reply.status for reply in replies] == [413, 200]
    assert told(replies[0])["field"] == "n_steps"


def test_a_way_that_carries_little_is_refused_large_answers_and_given_the_rest() -> None:
    """As gRPC is, whose calls hold bytes without a content type: a picture or JSON."""
    service = small_service()
    ask = {"img_data": GOOD, "n_steps": 1000, "target_class": [0, 1, 2] * 4}
    large = Call(json.dumps(ask).encode(), limit=NARROW)
    small = Call(json.dumps({**ask, "format": "json"}).encode(), limit=NARROW)
    picture = Call(JPEG, limit=NARROW)
    poster = {"image": base64.b64encode(encoded(pixels(1800, 1800))).decode(), "format": "png"}
    drawn = Call(json.dumps(poster).encode(), limit=NARROW)
    refined = Call(json.dumps({**ask, "format": "json", "tolerance": 0.5}).encode(), limit=NARROW)
    replies = service.answer([large, small, picture, drawn, refined])
    assert [reply.status for reply in replies] == [413, 200, 200, 413, 200]
    assert all(sum(map(len, reply.body)) <= NARROW.size for reply in replies)
    assert "HTTP" in told(replies[0])["message"]


@settings(deadline=None, max_examples=150)
@given(raw=st.binary(max_size=200), prefix=st.sampled_from([b"", JPEG[:300], encoded(pixels())[:60], b"{", b"BM"]))
def test_random_bytes_never_break_the_service(raw: bytes, prefix: bytes) -> None:
    for content_type in ("image/jpeg", "application/json"):
        reply = SERVICE.answer([body(bytearray(prefix + raw), content_type)])[0]
        assert reply.status == 200 or 400 <= told(reply)["code"] < 500


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "img_data", "image", "target_class", "against", "output", "n_steps", "method", "baseline", "baseline_data",
        "seed", "fields", "format", "other",
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(content=st.dictionaries(names, values, max_size=5), good=st.booleans())
def test_random_fields_never_break_the_service(content: dict[str, Any], good: bool) -> None:
    asked = {**content, "img_data": GOOD} if good else content
    reply = SERVICE.answer([body(asked)])[0]
    assert reply.status == 200 or 400 <= told(reply)["code"] < 500


def test_the_arrays_of_these_tests_are_good_but_for_their_fault() -> None:
    assert SERVICE.answer([json_call(img_data=with_value(7))])[0].status == 200
    assert np.asarray(GOOD).shape == (8, 10, 3)
