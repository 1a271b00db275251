"""A text's answer: the documented names in every format, tokens and words that fit it, one answer for each text."""

import gzip
import io
import json
import re
from html import unescape
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.call import Call, Reply
from intgrads.request import ERROR_MAP, SPREAD
from intgrads.texts.request import TextRequest
from safetensors.numpy import load
from shared.html_pages import page_of
from shared.texts import LONGEST, bert_service, text_call, xlnet_service
from shared.toys import call, json_call, refused, told

SERVICE = bert_service()
TEXT = "The camera isn't good, but I like it!"
SHAPES = {
    "integrated_gradients": (1, 14, 16),
    "intermediate_gradients": (6, 14, 16),
    "intermediates": (6, 14, 16),
    "step_sizes": (6, 1),
    "alphas": (6, 1),
    "output": (1, 3),
    "baseline_output": (1, 3),
    "target_class": (),
    "convergence_delta": (),
    "local_error": (),
    "attribution_error": (),
    "converged": (),
    "evaluations": (),
    "input_ids": (14,),
    "offsets": (14, 2),
    "truncated": (),
    "token_scores": (14,),
    "token_scores_error": (14,),
    "word_offsets": (10, 2),
    "word_spans": (10, 2),
    "word_scores": (10,),
    "word_scores_error": (10,),
}
STRINGS = {"tokens", "words"}


def ask(service: Any = SERVICE, **options: Any) -> Reply:
    reply: Reply = service.answer([json_call(**{"sequence": TEXT, "n_steps": 6, **options})])[0]
    assert reply.status == 200, reply.body
    return reply


def arrays(content: dict[str, Any]) -> dict[str, Any]:
    return {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in content.items()}


def read(reply: Reply) -> dict[str, Any]:
    """Open an answer as a caller would; that of a list as places before the names."""
    raw = b"".join(reply.body)
    if reply.content_type == "application/gzip":
        loaded = torch.load(io.BytesIO(gzip.decompress(raw)), weights_only=True)
        if "answers" not in loaded:
            return arrays(loaded)
        return {f"{k}.{n}": v for k, one in enumerate(loaded["answers"]) for n, v in arrays(one).items()}
    if reply.content_type == "application/x-npz":
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            found = dict(file)
        return {name: json.loads(str(array)) if name.endswith("info") else array for name, array in found.items()}
    if reply.content_type == "application/x-safetensors":
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        return {**load(raw), **{name: json.loads(info) for name, info in header["__metadata__"].items()}}
    content = told(reply)
    return {**{name: np.array(content[name]) for name in (*SHAPES, *STRINGS)}, "info": content}


@pytest.mark.parametrize("format", ["gzip", "npz", "safetensors"])
def test_tensor_formats_hold_the_documented_names_and_shapes(format: str) -> None:
    content = read(ask(format=format))
    strings = set() if format == "safetensors" else STRINGS
    assert content.keys() == {*SHAPES, *strings, "info"}
    for name, shape in SHAPES.items():
        assert content[name].shape == shape, name
    for name in strings:
        assert list(content[name]) == content["info"][name]


@pytest.mark.parametrize("format", ["npz", "safetensors", "json"])
def test_all_formats_hold_the_same(format: str) -> None:
    expected = read(ask(format="gzip"))
    found = read(ask(format=format, fields=[name for name in TextRequest.tensors if name not in (ERROR_MAP, SPREAD)]))
    for name in SHAPES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    for name, value in expected["info"].items():
        assert found["info"][name] == value, name


def test_offsets_are_characters_of_the_text_and_scores_sums_of_the_integral() -> None:
    answer = read(ask(format="gzip"))
    pieces = [TEXT[start:end].lower() for start, end in answer["offsets"]]
    assert [token for token in answer["tokens"] if token != "[UNK]"] == [
        piece or token for piece, token in zip(pieces, answer["tokens"], strict=True) if token != "[UNK]"
    ]
    assert [TEXT[start:end] for start, end in answer["word_offsets"]] == answer["words"]
    assert answer["words"][2] == "isn't"
    np.testing.assert_allclose(answer["token_scores"], answer["integrated_gradients"][0].sum(-1), atol=1e-6)
    for score, (start, end) in zip(answer["word_scores"], answer["word_spans"], strict=True):
        assert score == pytest.approx(answer["token_scores"][start:end].sum(), abs=1e-9)
    assert answer["info"]["text"] == TEXT


def test_json_is_the_scores_without_the_large_tensors() -> None:
    content = told(ask(format="json"))
    assert not {*TextRequest.tensors} & content.keys()
    assert len(content["token_scores"]) == len(content["tokens"]) == 14
    assert len(content["word_scores"]) == len(content["words"]) == 10


@pytest.mark.parametrize("text", [TEXT, '  <b>good</b> & bad; "x" \n', "good 👍 好 \x00 " + "film " * 60])
def test_json_and_html_tell_all_of_the_text_that_was_received(text: str) -> None:
    assert told(ask(sequence=text, format="json"))["text"] == text
    shown = page_of(ask(sequence=text, format="html")).source.split('data-target="0">')[2].split("</div>")[0]
    assert unescape(re.sub("<[^>]*>", "", shown)) == text


def test_who_sends_no_text_is_told_an_option_that_sends_all_of_it() -> None:
    """Curl's own `-F` cuts the text at a semicolon and reads a file where it begins with @ or <."""
    for nothing in (Call(), json_call(n_steps=5), call(content_type="multipart/form-data", n_steps="5")):
        refused(SERVICE.answer([nothing])[0], 400, "`--form-string sequence='…'`")


def test_several_targets_put_an_axis_before_the_scores() -> None:
    several = told(ask(format="json", target_class=["positive", 0], fields=["integrated_gradients"]))
    assert np.array(several["integrated_gradients"]).shape == (2, 1, 14, 16)
    assert np.array(several["word_scores"]).shape == (2, 10)
    for k, target in enumerate((1, "negative")):
        single = told(ask(format="json", target_class=target))
        np.testing.assert_allclose(several["token_scores"][k], single["token_scores"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", [0, 2, "mixed", None])
def test_the_target_is_the_callers_or_the_prediction(target: int | str | None) -> None:
    answer = told(ask(format="json", target_class=target))
    expected = {None: answer["prediction"]["index"], "mixed": 2}.get(target, target)  # type: ignore[arg-type]
    assert answer["target_class"] == expected
    assert answer["target_label"] == ["negative", "positive", "mixed"][answer["target_class"]]


@pytest.mark.parametrize("format", ["gzip", "npz", "safetensors", "json"])
@pytest.mark.parametrize("service", [SERVICE, xlnet_service()], ids=["bert", "xlnet"])
def test_a_list_of_texts_is_answered_with_what_each_would_get_alone(service: Any, format: str) -> None:
    """Their lengths differ, and nothing of one leaks into another: not a bit."""
    texts = [TEXT, "bad", "the film is really good . " * 4]
    fields = None if format != "json" else ["integrated_gradients", "output"]
    reply = ask(service, sequence=texts, format=format, fields=fields)
    alone = [ask(service, sequence=text, format=format, fields=fields) for text in texts]
    if format == "json":
        assert told(reply) == {"answers": [told(one) for one in alone]}
    else:
        together = read(reply)
        expected = {f"{k}.{name}": value for k, one in enumerate(alone) for name, value in read(one).items()}
        assert together.keys() == expected.keys()
        for name, value in expected.items():
            assert np.array_equal(together[name], value), name
    assert reply.headers["X-Intgrads-Evaluations"] == "8,8,8"


def test_a_list_of_one_is_a_list() -> None:
    assert len(told(ask(sequence=[TEXT], format="json"))["answers"]) == 1


@pytest.mark.parametrize("service", [SERVICE, xlnet_service()], ids=["bert", "xlnet"])
def test_a_batch_of_texts_of_different_lengths_equals_its_single_requests(service: Any) -> None:
    options: list[dict[str, Any]] = [
        {"sequence": "bad"}, {"sequence": "not good, " * 8}, {"sequence": ""},
        {"sequence": TEXT, "baseline": "rand-norm"}, {"sequence": "bad", "target_class": [2, 0]},
        {"sequence": "i like it", "tolerance": 0.02},
    ]  # fmt: skip
    calls = [json_call(format="npz", **one) for one in options]
    together = service.answer(calls)
    assert [reply.status for reply in together] == [200, 200, 400, 200, 200, 200]
    for asked, reply in zip(calls, together, strict=True):
        assert reply.body == service.answer([asked])[0].body


@pytest.mark.parametrize(
    "asked",
    [
        text_call(TEXT, "application/json"),
        text_call("\ufeff" + TEXT, "application/json", "Text/Plain; charset=UTF-8"),
        text_call(TEXT, "application/json", "application/octet-stream"),
        json_call(sequence=TEXT, format="json"),
        call(content_type="multipart/form-data", sequence=TEXT, format="json"),
        call(content_type="multipart/form-data", accept="application/json", data=bytearray(TEXT.encode())),
        call(content_type="multipart/form-data", data=bytearray(TEXT.encode()), format="json"),
        Call(TEXT.encode(), content_type="multipart/form-data", accept="application/json"),
    ],
    ids=["body", "byte order mark", "octets", "json", "form field", "form file alone", "form file", "decoded file"],
)
def test_all_ways_to_send_a_text_are_the_same(asked: Any) -> None:
    assert told(SERVICE.answer([asked])[0]) == told(SERVICE.answer([json_call(sequence=TEXT, format="json")])[0])


@pytest.mark.parametrize("text", ['{"good": 1}', "[camera] is good", "BMW is good", "RIFF", '["good", "bad"]'])
def test_a_text_that_looks_like_something_else_is_a_text(text: str) -> None:
    form = {"content_type": "multipart/form-data", "format": "json"}
    for asked in (text_call(text, "application/json"), call(sequence=text, **form)):
        assert told(SERVICE.answer([asked])[0])["text"] == text


def test_a_long_text_is_cut_and_that_is_told() -> None:
    words = " ".join(["good"] * 100)
    answer = told(ask(sequence=words, format="json"))
    assert answer["truncated"]
    assert len(answer["tokens"]) == LONGEST
    assert answer["tokens"][-1] == "[SEP]"
    assert len(answer["words"]) == LONGEST - 2
    assert any("cut after 40 of 102 tokens, at character 189 of 499" in warning for warning in answer["warnings"])
    whole = told(ask(sequence=words[:189], format="json"))
    assert not whole["truncated"]
    assert whole["token_scores"] == answer["token_scores"]


def test_a_network_without_a_limit_of_its_own_is_given_the_archives() -> None:
    assert xlnet_service().network.text.max_tokens == 512


def test_html_tells_every_score_and_asks_for_nothing_outside() -> None:
    answer, shown = told(ask(format="json")), page_of(ask(format="html"))
    (of,) = shown.answers[0]["scores"]
    assert of["words"] == pytest.approx(answer["word_scores"])
    assert of["tokens"] == pytest.approx(answer["token_scores"])
    assert of["words_error"] == pytest.approx(answer["word_scores_error"])
    words = [attributes for attributes in shown.of_class("word") if attributes["data-word"] == "0"]
    assert len(words) == 3  # the attribution, and on the path the gradient and what is accumulated
    assert not {tag for tag, _ in shown.tags} & {"link", "iframe", "object", "img"}
    assert not [value for _, attributes in shown.tags for name, value in attributes.items() if name in ("src", "href")]
    assert TEXT in shown.text
    assert f"{answer['convergence_delta']:+.2g}" in shown.text


def test_html_shows_what_a_caller_sent_and_runs_none_of_it() -> None:
    evil = "good <script>alert('x')</script> & <b title=\"bad\">film</b> </script><!-- \x00 ]]> \u202e"
    shown = page_of(ask(sequence=[evil, TEXT], format="html", target_class=[0, 1]))
    assert not {tag for tag, _ in shown.tags} & {"b", "img"}
    scripts = [attributes for tag, attributes in shown.tags if tag == "script"]
    assert scripts == [{"type": "application/json"}] * 2 + [{}]
    assert "<script>alert('x')</script>" in shown.text
    assert shown.text.count("negative") >= 2
    assert "script" in "".join(shown.answers[0]["words"])


def test_html_marks_what_was_cut() -> None:
    shown = page_of(ask(sequence=" ".join(["good"] * 100) + " end", format="html"))
    assert shown.of_class("cut")
    assert "end" in shown.text
    assert "the text was cut" in shown.text
