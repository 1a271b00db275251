"""What OpenAPI says of requests and answers is true of real ones, and the documentation has it as it is."""

import json
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import schemathesis
from intgrads.call import Reply
from intgrads.detections.request import DetectionRequest
from intgrads.openapi import endpoint
from intgrads.pictures.request import ImageRequest
from intgrads.request import Request
from intgrads.texts.request import TextRequest
from shared.places import ROOT
from shared.texts import bert_service
from shared.toys import json_call, pixels, small_service, told

SERVICES: dict[str, Any] = {"picture": small_service(max_baselines=4), "text": bert_service(max_baselines=4)}
KINDS: dict[str, type[Request]] = {"picture": ImageRequest, "text": TextRequest}
TREE = "(S (NP (DT The) (NN camera)) (VP (VBZ is) (JJ good)))"
SENTENCE = "The camera is good"
PICTURE: dict[str, Any] = {"img_data": pixels(30, 40).tolist(), "n_steps": 4}
LABELS = (np.arange(1200).reshape(30, 40) // 300).tolist()

GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "a picture": ("picture", {}),
    "several targets": ("picture", {"target_class": [0, "crane"], "n_steps": 3} | {"target_class": [0, 1]}),
    "against the rest": ("picture", {"target_class": 0, "against": "rest", "output": "logit"}),
    "a tolerance": ("picture", {"tolerance": 0.05, "max_evaluations": 50}),
    "several baselines": ("picture", {"baseline": ["black", "uniform:2"], "target_class": [0, 2]}),
    "groups": ("picture", {"groups": LABELS, "group_pixels": False}),
    "regions": ("picture", {"groups": "regions", "kept_share": 0.5}),
    "verified": ("picture", {"groups": "superpixels", "verify": True, "target_class": [0]}),
    "tensors": ("picture", {"fields": ["integrated_grads", "attribution_error_map", "alphas"]}),
    "a text": ("text", {"sequence": SENTENCE}),
    "texts": ("text", {"sequence": [SENTENCE, "Good."], "target_class": [0, 1]}),
    "words": ("text", {"sequence": SENTENCE, "groups": "words", "verify": True}),
    "a tree": ("text", {"sequence": SENTENCE, "groups": TREE, "baseline": ["pad", "zero"]}),
    "a text's tensors": ("text", {"sequence": SENTENCE, "fields": ["integrated_gradients", "step_sizes"]}),
}

BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "no picture": ("picture", {"img_data": None}),
    "an unknown field": ("picture", {"color": 1}),
    "a wrong method": ("picture", {"method": "simpson"}),
    "true steps": ("picture", {"n_steps": True}),
    "a tolerance over 1": ("picture", {"tolerance": 2}),
    "too many texts' targets": ("text", {"sequence": SENTENCE, "target_class": 99}),
    "no text": ("text", {}),
    "a format without pictures": ("text", {"sequence": SENTENCE, "format": "png"}),
}

AGAINST_THE_SCHEMA = {
    "an unknown field",
    "a wrong method",
    "true steps",
    "a tolerance over 1",
    "a format without pictures",
}
"""Of these the description says already that they are wrong."""


def ask(kind: str, content: dict[str, Any]) -> tuple[dict[str, Any], Reply]:
    sent = (PICTURE if kind == "picture" else {"n_steps": 4}) | {"format": "json"} | content
    (reply,) = SERVICES[kind].answer([json_call(**sent)])
    return sent, reply


def described(kind: str) -> Any:
    return endpoint("toy", KINDS[kind])["post"]


@pytest.mark.parametrize(("kind", "content"), GOOD.values(), ids=GOOD)
def test_requests_and_answers_are_as_described(kind: str, content: dict[str, Any]) -> None:
    sent, reply = ask(kind, content)
    assert reply.status == 200, reply.body
    told_of = described(kind)
    jsonschema_rs.validate(told_of["requestBody"]["content"]["application/json"]["schema"], sent)
    jsonschema_rs.validate(told_of["responses"]["200"]["content"][reply.content_type]["schema"], told(reply))
    assert set(reply.headers) <= set(told_of["responses"]["200"]["headers"])


@pytest.mark.parametrize("case", BAD)
def test_errors_are_as_described(case: str) -> None:
    kind, content = BAD[case]
    sent, reply = ask(kind, content)
    told_of = described(kind)
    schema = told_of["requestBody"]["content"]["application/json"]["schema"]
    assert jsonschema_rs.is_valid(schema, sent) == (case not in AGAINST_THE_SCHEMA)
    error = told_of["responses"][str(reply.status)]["content"]["application/json"]["schema"]
    jsonschema_rs.validate(error, told(reply))
    assert reply.status == told(reply)["code"] >= 400


def test_a_description_can_say_that_an_answer_is_wrong() -> None:
    _, reply = ask("picture", {})
    schema = described("picture")["responses"]["200"]["content"]["application/json"]["schema"]
    answer = told(reply)
    for wrong in ({"difference": "much"}, {"an unknown figure": 1}, {"prediction": {"label": 3}}, {"model": None}):
        assert not jsonschema_rs.is_valid(schema, answer | wrong)


@pytest.mark.parametrize("request_type", [ImageRequest, TextRequest, DetectionRequest])
def test_every_field_and_format_is_described(request_type: type[ImageRequest]) -> None:
    told_of = endpoint("toy", request_type)["post"]
    form = told_of["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == set(request_type.model_fields)
    assert all(field.get("description") for field in form.values())
    answers = told_of["responses"]["200"]["content"]
    assert ("image/png" in answers) == ("png" in request_type.formats())


def test_an_archive_describes_itself_so() -> None:
    description = SERVICES["text"].describe()["openapi"]
    assert list(description["paths"]) == ["/predictions/toy"]
    schemathesis.openapi.from_dict(description).validate()


def test_the_documentation_has_the_description_as_it_is() -> None:
    held = json.loads((ROOT / "docs" / "openapi.json").read_text())
    schemathesis.openapi.from_dict(held).validate()
    kinds: dict[str, type[Request]] = {"intgrads": ImageRequest, "shapes": DetectionRequest, "text": TextRequest}
    expected = {f"/predictions/{name}": endpoint(name, kind) for name, kind in kinds.items()}
    assert held["paths"] == expected, "run scripts/docs_tables.py"
