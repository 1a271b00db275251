"""A request may ask what tells a class from others, and how likely it is; every format tells what was asked."""

import gzip
import io
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.errors import RequestError
from intgrads.labels import Labels
from intgrads.pictures.classifier import ImageClassifier
from intgrads.service import Service
from intgrads.settings import Settings
from safetensors import safe_open
from safetensors.torch import load
from shared.html_pages import Page
from shared.texts import bert_service
from shared.toys import LABELS, call, encoded, json_call, pixels, refused, small_network, small_service, told

SERVICE = small_service()
PICTURE = {"img_data": pixels().tolist(), "n_steps": 20}


def of_outputs(outputs: Any) -> Service[ImageClassifier]:
    """Return the small service, its outputs being of another kind."""
    plain = SERVICE.network
    network = ImageClassifier(plain.module, plain.picture, plain.labels, outputs=outputs)
    return Service("toy", network, Settings(threads=1), torch.device("cpu"))


def ask(service: Service[Any] = SERVICE, **content: Any) -> dict[str, Any]:
    reply = service.answer([json_call(**{**PICTURE, "format": "json", **content})])[0]
    assert reply.status == 200, reply.body
    return told(reply)


def maps(**content: Any) -> Any:
    return np.array(ask(fields=["integrated_grads"], **content)["integrated_grads"])


def logits(answer: dict[str, Any]) -> Any:
    """Return the logits by class, of an answer whose `top` lists all of them."""
    return np.array([one["logit"] for one in sorted(answer["top"], key=lambda one: one["index"])])


# ---------------------------------------------------------------------- against
def test_against_one_is_the_difference_of_the_two() -> None:
    both = maps(target_class=[0, 1])
    np.testing.assert_allclose(maps(target_class=0, against=1), both[0] - both[1], rtol=1e-4, atol=1e-6)
    answer = ask(target_class=0, against=1)
    assert answer["value"] == pytest.approx(logits(answer)[0] - logits(answer)[1], abs=1e-6)
    assert answer["difference"] == pytest.approx(answer["value"] - answer["baseline_value"])
    assert (answer["attributed"], answer["against"]) == ("logit", "crane")
    assert abs(answer["convergence_delta"]) < 1e-4
    assert answer["target_output"] == pytest.approx(logits(answer)[0])  # the network's own, whatever was asked


def test_against_a_list_is_against_their_mean() -> None:
    each = maps(target_class=[0, 1, 2])
    np.testing.assert_allclose(
        maps(target_class=0, against=[1, 2]), each[0] - (each[1] + each[2]) / 2, rtol=1e-4, atol=1e-6
    )
    assert ask(target_class=0, against=[1, 2])["against"] == ["crane", "crane"]
    assert ask(target_class=0, against=[1])["against"] == ["crane"]


def test_against_the_rest_is_log_odds() -> None:
    answer = ask(target_class=0, against="rest")
    p = answer["target_score"]
    assert answer["value"] == pytest.approx(np.log(p / (1 - p)), abs=1e-6)
    assert answer["against"] == "rest"


@pytest.mark.parametrize("name", ["tabby, tabby cat", "tabby cat", " TABBY ", 0, "0"])
def test_others_are_named_as_targets_are(name: Any) -> None:
    assert ask(target_class=1, against=name)["against"] == LABELS[0]


def test_a_form_names_a_list_as_json() -> None:
    reply = SERVICE.answer([call(data=encoded(pixels()), format="json", target_class="1", against='["tabby", 2]')])[0]
    assert told(reply)["against"] == [LABELS[0], LABELS[2]]


def test_the_predicted_class_may_be_told_from_another() -> None:
    predicted = ask()["target_class"]
    other = (predicted + 1) % 3
    answer = ask(against=other)
    assert answer["target_class"] == predicted
    assert answer["value"] == pytest.approx(logits(answer)[predicted] - logits(answer)[other], abs=1e-6)


def test_a_prediction_that_is_told_from_itself_is_refused_and_harms_no_other() -> None:
    predicted = ask()["target_class"]
    good = json_call(**PICTURE, format="json")
    replies = SERVICE.answer([good, json_call(**PICTURE, against=predicted), good])
    assert [reply.status for reply in replies] == [200, 400, 200]
    error = refused(replies[1], 400, "target_class")
    assert error["field"] == "against"
    assert "predicted" in error["message"]


def test_a_label_that_is_called_rest_is_found_in_a_list_or_by_its_index() -> None:
    plain = SERVICE.network
    network = ImageClassifier(plain.module, plain.picture, Labels(["rest", "work", "play"]))
    service = Service("toy", network, Settings(threads=1), torch.device("cpu"))
    assert ask(service, target_class=1, against=["rest"])["against"] == ["rest"]
    assert ask(service, target_class=1, against=0)["value"] != ask(service, target_class=1, against="rest")["value"]


def test_several_targets_are_each_told_from_the_same_others() -> None:
    several = ask(target_class=[0, 1], against=2)
    for k, target in enumerate((0, 1)):
        single = ask(target_class=target, against=2)
        for name in ("value", "baseline_value", "difference", "local_error"):
            assert several[name][k] == pytest.approx(single[name], abs=1e-6)


# ---------------------------------------------------------------------- output
def test_a_probability_and_its_logarithm() -> None:
    plain = ask(target_class=0)
    probability, logarithm = ask(target_class=0, output="probability"), ask(target_class=0, output="log_probability")
    assert probability["value"] == pytest.approx(plain["target_score"])
    assert logarithm["value"] == pytest.approx(np.log(plain["target_score"]), abs=1e-6)
    assert (probability["attributed"], logarithm["attributed"]) == ("probability", "log_probability")
    assert abs(probability["convergence_delta"]) < 1e-4
    assert abs(logarithm["convergence_delta"]) < 1e-4


def test_the_logit_is_what_was_always_attributed() -> None:
    np.testing.assert_array_equal(maps(output="logit"), maps())
    answer = ask()
    assert (answer["attributed"], answer["against"]) == ("logit", None)
    assert answer["value"] == pytest.approx(answer["target_output"])


def test_where_any_label_may_be_true_its_own_logit_makes_the_probability() -> None:
    answer = ask(of_outputs("sigmoid"), target_class=0, output="probability")
    assert answer["value"] == pytest.approx(1 / (1 + np.exp(-logits(answer)[0])), abs=1e-6)


# ---------------------------------------------------------------------- formats and texts
def test_every_format_tells_what_was_asked() -> None:
    content = {**PICTURE, "target_class": 0, "against": 1}
    expected = ask(target_class=0, against=1)
    raw = {
        format: b"".join(SERVICE.answer([json_call(**content, format=format)])[0].body)
        for format in ("gzip", "safetensors", "npz", "html", "png")
    }
    gzipped = torch.load(io.BytesIO(gzip.decompress(raw["gzip"])), weights_only=True)
    infos = [gzipped["info"], json.loads(str(np.load(io.BytesIO(raw["npz"]))["info"]))]
    for info in infos:
        assert {name: info[name] for name in ("against", "attributed", "value", "difference")} == {
            name: expected[name] for name in ("against", "attributed", "value", "difference")
        }
    torch.testing.assert_close(load(raw["safetensors"])["integrated_grads"], gzipped["integrated_grads"])
    page = Page(raw["html"].decode())
    assert "tabby, tabby cat, and not crane" in page.text
    assert re.search(r"f\(x\)-?[\d.]+", page.text)
    assert raw["png"].startswith(b"\x89PNG")


def test_the_metadata_of_safetensors_tells_it_too(tmp_path: Any) -> None:
    body = b"".join(SERVICE.answer([json_call(**PICTURE, format="safetensors", output="probability")])[0].body)
    (tmp_path / "answer").write_bytes(body)
    with safe_open(tmp_path / "answer", "pt") as file:
        assert json.loads(file.metadata()["info"])["attributed"] == "probability"


def test_a_text_is_asked_the_same() -> None:
    service = bert_service()
    text = {"sequence": "The camera isn't good.", "n_steps": 30, "format": "json"}
    each = told(service.answer([json_call(**text, target_class=["positive", "negative"])])[0])
    apart = told(service.answer([json_call(**text, target_class="positive", against="negative")])[0])
    scores = np.array(each["token_scores"])
    np.testing.assert_allclose(apart["token_scores"], scores[0] - scores[1], atol=1e-5)
    assert apart["against"] == "negative"


def test_a_description_tells_the_fields() -> None:
    described = SERVICE.describe()
    assert described["choices"]["output"] == ["logit", "log_probability", "probability"]
    assert "rest" in described["fields"]["against"]


# ---------------------------------------------------------------------- bad requests
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown label": ({"target_class": 1, "against": "dog"}, "against", "tabby"),
    "an ambiguous label": ({"target_class": 0, "against": "crane"}, "against", "1, 2"),
    "an index too large": ({"against": 3}, "against", "0 to 2"),
    "a negative index": ({"against": -1}, "against", "0 to 2"),
    "half a class": ({"against": 0.5}, "against", "label"),
    "true": ({"against": True}, "against", "label"),
    "an object": ({"against": {}}, "against", "label"),
    "nothing in the list": ({"against": []}, "against", "1 to"),
    "a million in the list": ({"against": [0] * 10**6}, "against", "1 to"),
    "a list in the list": ({"against": [[0]]}, "against", "label"),
    "the target itself": ({"target_class": 0, "against": "tabby"}, "against", "names too"),
    "one of two targets": ({"target_class": [1, 0], "against": [2, 0]}, "against", "names too"),
    "a class twice": ({"target_class": 1, "against": [0, "tabby"]}, "against", "twice"),
    "the rest in a list": ({"target_class": 1, "against": ["rest"]}, "against", "alone"),
    "an unknown output": ({"output": "odds"}, "output", "log_probability"),
    "a list of outputs": ({"output": ["logit"]}, "output", "logit"),
    "a probability against another": ({"against": 0, "output": "probability"}, "output", "not both"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_question_is_answered_with_its_field_and_remedy(name: str) -> None:
    content, field, words = BAD[name]
    assert refused(SERVICE.answer([json_call(**PICTURE, **content)])[0], 400, words)["field"] == field


@pytest.mark.parametrize(
    ("outputs", "content", "field"),
    [
        ("none", {"output": "probability"}, "output"),
        ("none", {"output": "log_probability"}, "output"),
        ("none", {"against": "rest"}, "against"),
        ("sigmoid", {"against": "rest"}, "against"),
    ],
)
def test_what_the_outputs_do_not_stand_for_is_refused(outputs: str, content: dict[str, Any], field: str) -> None:
    assert refused(of_outputs(outputs).answer([json_call(**PICTURE, **content)])[0], 400, "leave")["field"] == field


def test_a_network_of_one_output_has_no_rest() -> None:
    plain = SERVICE.network
    network = ImageClassifier(small_network(classes=1).eval(), plain.picture, Labels(["cat"]))
    service = Service("toy", network, Settings(threads=1), torch.device("cpu"))
    assert refused(service.answer([json_call(**PICTURE, against="rest")])[0], 400, "leave")["field"] == "against"


def test_labels_name_the_field_that_is_at_fault() -> None:
    with pytest.raises(RequestError) as error:
        Labels(LABELS).resolve("dog", "against")
    assert error.value.field == "against"
