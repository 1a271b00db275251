"""The app: what each kind of archive is offered, what is asked for what was chosen, and what is told of bad input."""

from typing import Any

import pytest
from intgrads.app import TARGET, answer, controls, request, takes
from intgrads.client import ClientError
from intgrads.detections.request import DetectionRequest
from intgrads.pictures.request import ImageRequest
from intgrads.texts.request import TextRequest
from shared.texts import bert_service
from shared.toys import small_service

PICTURES, TEXTS = small_service().describe(), bert_service().describe()
OBJECTS = {**PICTURES, "fields": dict.fromkeys(DetectionRequest.model_fields, "")}
NOTHING: dict[str, Any] = dict.fromkeys(("picture", "text", "target_class", "against", TARGET, "baseline", "groups"))


def test_each_kind_has_its_own_controls() -> None:
    assert [takes(one) for one in (PICTURES, OBJECTS, TEXTS)] == ["picture", "object", "text"]
    shown = {kind: controls(one) for kind, one in (("picture", PICTURES), ("object", OBJECTS), ("text", TEXTS))}
    assert shown["picture"]["picture"]["visible"]
    assert not shown["text"]["picture"]["visible"]
    assert shown["text"]["text"]["visible"]
    assert shown["object"][TARGET]["visible"]
    assert not shown["picture"][TARGET]["visible"]
    assert shown["picture"]["target_class"]["choices"] == PICTURES["labels"]
    assert "pad" in shown["text"]["baseline"]["choices"]


@pytest.mark.parametrize(
    ("archive", "kind"), [(PICTURES, ImageRequest), (OBJECTS, DetectionRequest), (TEXTS, TextRequest)]
)
def test_what_is_asked_is_a_request_that_the_archive_takes(archive: Any, kind: Any) -> None:
    shown = controls(archive)
    for groups in shown["groups"]["choices"]:
        asked = {**NOTHING, "baseline": shown["baseline"]["value"], "groups": groups, "tolerance": 0.05, TARGET: 1.0}
        sent = request(archive, asked)
        assert set(sent) <= set(kind.model_fields)
        assert sent["groups"] == groups


def test_what_was_left_empty_is_not_asked() -> None:
    assert request(PICTURES, {**NOTHING, "tolerance": 0.1}) == {"tolerance": 0.1}
    assert request(TEXTS, {**NOTHING, "target_class": "positive", "tolerance": 0.1}) == {
        "target_class": "positive",
        "tolerance": 0.1,
    }
    assert request(OBJECTS, {**NOTHING, "baseline": "black", "groups": "segments", "tolerance": 0.1}) == {}
    assert request(OBJECTS, {**NOTHING, TARGET: 0, "baseline": "", "tolerance": 0.1}) == {TARGET: 0, "tolerance": 0.1}


@pytest.mark.parametrize(("archive", "words"), [(PICTURES, "give a picture first"), (TEXTS, "type a text first")])
def test_nothing_is_sent_without_an_input(archive: Any, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        answer("http://127.0.0.1:9", "toy", archive, {**NOTHING, "tolerance": 0.1}, None)
