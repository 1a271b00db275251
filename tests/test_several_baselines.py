"""Several baselines in one request: the mean of single requests, with what depends on the baseline beside it."""

import base64
import gzip
import io
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.pictures import sent
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.service import Service
from intgrads.settings import Settings
from intgrads.texts.classifier import TextClassifier
from safetensors.torch import load
from shared.bad_requests import gif
from shared.html_pages import Page, page_of
from shared.texts import bert_service, plain_tokenizer, prepared, saved, service_of, small_bert
from shared.toys import call, encoded, json_call, pixels, refused, small_service, told

SERVICE = small_service(max_baselines=6)
PICTURE: dict[str, Any] = {"img_data": pixels(13, 17).tolist(), "n_steps": 12}
MAP: dict[str, Any] = {"fields": ["integrated_grads", "baseline_spread", "baseline_output"]}
TEXT: dict[str, Any] = {"sequence": "The camera isn't good.", "n_steps": 12}
TEXTS = bert_service(max_baselines=6)
OTHER = encoded(pixels(20, 20, 5))


def ask(service: Service[Any] = SERVICE, **content: Any) -> dict[str, Any]:
    reply = service.answer([json_call(**{**PICTURE, "format": "json", **content})])[0]
    assert reply.status == 200, reply.body
    return told(reply)


def ask_text(service: Service[TextClassifier] = TEXTS, **content: Any) -> dict[str, Any]:
    reply = service.answer([json_call(**{**TEXT, "format": "json", **content})])[0]
    assert reply.status == 200, reply.body
    return told(reply)


def base64_of(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def with_examples(service: Service[Any], folder: Path, **files: bytes) -> Service[Any]:
    """Return a service whose archive has examples."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    network: Any = service.network
    kind: Any = type(network)
    options = {"outputs": network.outputs, "examples": tuple(sorted(folder.iterdir()))}
    if kind is ImageClassifier:
        network = ImageClassifier(network.module, network.picture, network.labels, **options)
    else:
        network = TextClassifier(network.module, network.text, network.labels, **options)
    return Service("toy", network, Settings(threads=1, max_baselines=6), torch.device("cpu"))


# ---------------------------------------------------------------------- large ones
SEVERAL_PICTURES = [base64_of(encoded(pixels(20, 20, seed))) for seed in range(5)]


def test_pictures_to_start_from_are_decoded_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty of the largest would take gigabytes beside each other."""
    alive: list[weakref.ref[Picture]] = []
    decode = sent._own_picture

    def counting(*content: Any) -> Picture:
        assert not any(one() for one in alive)
        picture = decode(*content)
        alive.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(sent, "_own_picture", counting)
    assert len(ask(baseline_data=SEVERAL_PICTURES)["baselines"]) == len(alive) == 5


def test_decoding_them_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode, late = sent._own_picture, time.monotonic() + SERVICE.settings.response_timeout + 1

    def slowly(*content: Any) -> Picture:
        decoded.append(1)
        monkeypatch.setattr(time, "monotonic", lambda: late)
        return decode(*content)

    monkeypatch.setattr(sent, "_own_picture", slowly)
    reply = SERVICE.answer([json_call(**PICTURE, baseline_data=SEVERAL_PICTURES)])[0]
    assert refused(reply, 413, "not done within")["type"] == "TooMuchWork"
    assert len(decoded) == 1


# ---------------------------------------------------------------------- the mean of single requests
@pytest.mark.parametrize(
    "options", [{}, {"tolerance": 0.02}, {"output": "probability"}, {"target_class": 0, "against": 1}]
)
def test_it_is_the_mean_of_single_requests(options: dict[str, Any]) -> None:
    names = ["black", "white", "blur"]
    several = ask(baseline=names, **MAP, **options)
    each = [ask(baseline=name, fields=["integrated_grads", "baseline_output"], **options) for name in names]
    maps = np.array([one["integrated_grads"] for one in each])
    np.testing.assert_allclose(several["integrated_grads"], maps.mean(0), rtol=1e-4, atol=1e-6)
    # A pixel is the sum of its channels.
    np.testing.assert_allclose(several["baseline_spread"], maps.sum(2).std(0), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(several["baseline_output"], [one["baseline_output"][0] for one in each], atol=1e-5)
    for name in ("difference", "convergence_delta", "local_error", "baseline_value"):
        assert several[name] == pytest.approx(np.mean([one[name] for one in each]), abs=1e-6)
    assert several["evaluations"] == sum(one["evaluations"] for one in each)
    for own, single in zip(several["baselines"], each, strict=True):
        assert own["baseline"] == single["baseline"]
        assert own["evaluations"] == single["evaluations"]
        assert own["converged"] == single["converged"]
        for name in ("baseline_value", "difference", "convergence_delta", "local_error", "attribution_error"):
            assert own[name] == pytest.approx(single[name], rel=1e-2, abs=1e-6)


def test_uniform_ones_have_the_seeds_from_the_requests_on() -> None:
    several = ask(baseline="uniform:3", seed=7, **MAP)
    each = [ask(baseline="noise", seed=seed, fields=["integrated_grads"])["integrated_grads"] for seed in (7, 8, 9)]
    np.testing.assert_allclose(several["integrated_grads"], np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
    assert [(one["baseline"], one["seed"]) for one in several["baselines"]] == [("noise", s) for s in (7, 8, 9)]
    assert several["baseline"] == "uniform:3"


def test_they_do_not_depend_on_what_is_under_way_together(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ask(baseline="uniform:5", tolerance=0.05, **MAP)
    monkeypatch.setattr("intgrads.service._held", lambda *_: 2**29)  # two at once
    found = ask(baseline="uniform:5", tolerance=0.05, **MAP)
    np.testing.assert_allclose(found["integrated_grads"], expected["integrated_grads"], rtol=1e-4, atol=1e-6)
    assert found["evaluations"] == expected["evaluations"]


def test_several_targets_have_an_axis_of_their_own() -> None:
    several = ask(baseline=["black", "white"], target_class=[0, 2], **MAP)
    assert np.shape(several["integrated_grads"]) == (2, 1, 3, 8, 10)
    assert np.shape(several["baseline_spread"]) == (2, 1, 8, 10)
    assert [len(one["difference"]) for one in several["baselines"]] == [2, 2]


def test_a_batch_gives_what_its_requests_give_alone() -> None:
    asked = [
        json_call(**PICTURE, format="json", baseline="uniform:4"),
        json_call(**PICTURE, format="json"),
        json_call(**PICTURE, baseline="uniform:7"),
        json_call(**PICTURE, format="json", baseline=["white"]),
    ]
    replies = SERVICE.answer(asked)
    assert [reply.status for reply in replies] == [200, 200, 400, 200]
    for request, reply in zip(asked, replies, strict=True):
        alone, shared = told(SERVICE.answer([request])[0]), told(reply)
        assert alone.keys() == shared.keys()
        if reply.status == 200:
            assert shared["difference"] == pytest.approx(alone["difference"], abs=1e-6)


def test_a_list_of_one_is_still_a_list() -> None:
    one = ask(baseline=["white"], **MAP)
    assert len(one["baselines"]) == 1
    assert not np.any(one["baseline_spread"])
    assert "baselines" not in ask(baseline="white")


@pytest.mark.parametrize("baseline", ["black,white", '["black", "white"]', " black , white "])
def test_a_form_lists_them(baseline: str) -> None:
    answer = told(SERVICE.answer([call(data=encoded(pixels()), format="json", baseline=baseline)])[0])
    assert answer["baseline"] == ["black", "white"]


def test_the_same_request_twice_gives_the_same_bytes() -> None:
    asked = json_call(**PICTURE, baseline="uniform:4", groups="superpixels", n_superpixels=4)
    first, second = (b"".join(SERVICE.answer([asked])[0].body) for _ in range(2))
    assert first == second


def test_groups_carry_the_mean_over_baselines() -> None:
    mask = np.zeros((13, 17), int)
    mask[:, :8] = 1
    names = ["black", "white", "blur"]
    groups: dict[str, Any] = {"groups": mask.tolist()}
    several = ask(baseline=names, **groups)["groups"]
    each = [ask(baseline=name, **groups)["groups"] for name in names]
    for k, group in enumerate(several):
        for name in ("idg", "integrated_gradients"):
            assert group[name] == pytest.approx(np.mean([one[k][name] for one in each]), rel=1e-3, abs=1e-6)
        assert np.isfinite(group["idg_error"])
        assert np.isfinite(group["value_error"])
    assert several[-1]["value"] == pytest.approx(1)


# ---------------------------------------------------------------------- the caller's own, and examples
def test_a_picture_of_the_callers_own_is_prepared_as_the_picture_is() -> None:
    """The cat from itself gains nothing, from the other way round the opposite."""
    own = encoded(pixels(13, 17))
    same = ask(baseline_data=base64_of(own), fields=["integrated_grads"])
    assert not np.any(same["integrated_grads"])
    assert same["baseline"] == "baseline_data"
    there = ask(baseline_data=base64_of(OTHER), target_class=0)
    back = told(
        SERVICE.answer(
            [json_call(image=base64_of(OTHER), baseline_data=base64_of(own), target_class=0, n_steps=12, format="json")]
        )[0]
    )
    assert there["difference"] == pytest.approx(-back["difference"], abs=1e-5)
    assert any("baseline_data: the picture was resized from 20 × 20" in note for note in there["warnings"])


def test_a_single_one_leaves_the_answer_as_it_was() -> None:
    reply = SERVICE.answer([json_call(**PICTURE, baseline_data=base64_of(OTHER))])[0]
    tensors = torch.load(io.BytesIO(gzip.decompress(b"".join(reply.body))), weights_only=True)
    assert tensors["integrated_directional_grads"].shape == (12, 3, 8, 10)
    assert "baseline_spread" not in tensors


def test_several_of_the_callers_own_come_as_base64_and_as_arrays() -> None:
    answer = ask(baseline_data=[base64_of(OTHER), pixels(9, 9, 1).tolist()], **MAP)
    each = [
        ask(baseline_data=one, fields=["integrated_grads"])
        for one in (base64_of(OTHER), base64_of(encoded(pixels(9, 9, 1))))
    ]
    np.testing.assert_allclose(
        answer["integrated_grads"], np.mean([one["integrated_grads"] for one in each], 0), rtol=1e-4, atol=1e-6
    )
    assert [one["baseline"] for one in answer["baselines"]] == ["baseline_data[0]", "baseline_data[1]"]


def test_a_form_brings_one_as_a_file() -> None:
    reply = SERVICE.answer(
        [call(data=encoded(pixels(13, 17)), baseline_data=bytearray(OTHER), n_steps="12", format="json")]
    )[0]
    assert told(reply)["difference"] == pytest.approx(ask(baseline_data=base64_of(OTHER))["difference"], abs=1e-6)


def test_a_baseline_beside_ones_own_is_told_as_not_used() -> None:
    answer = ask(baseline="white", baseline_data=base64_of(OTHER))
    assert any(note.startswith("`baseline` was not used") for note in answer["warnings"])


def test_examples_are_those_of_the_archive(tmp_path: Path) -> None:
    service = with_examples(SERVICE, tmp_path, a=OTHER, b=encoded(pixels(13, 17, 6)), c=encoded(pixels(13, 17, 7)))
    answer = ask(service, baseline="examples", **MAP)
    assert sorted(one["baseline"] for one in answer["baselines"]) == ["examples/a", "examples/b", "examples/c"]
    data = [base64_of((tmp_path / one["baseline"].split("/")[1]).read_bytes()) for one in answer["baselines"]]
    assert answer["integrated_grads"] == ask(baseline_data=data, **MAP)["integrated_grads"]
    drawn = [ask(service, baseline="examples:1", seed=seed)["baselines"][0]["baseline"] for seed in [*range(8)] * 2]
    assert drawn[:8] == drawn[8:]
    assert len(set(drawn)) > 1
    assert service.describe()["examples"] == 3
    mixed = ask(service, baseline=["black", "examples:2"])
    assert len(mixed["baselines"]) == 3


# ---------------------------------------------------------------------- texts
def test_of_a_text_too() -> None:
    names = ["pad", "zero", "mask"]
    several = ask_text(baseline=names, fields=["integrated_gradients", "baseline_spread"], groups="words")
    each = [ask_text(baseline=name, groups="words") for name in names]
    scores = np.array([one["token_scores"] for one in each])
    np.testing.assert_allclose(several["token_scores"], scores.mean(0), atol=1e-6)
    np.testing.assert_allclose(several["token_scores_spread"], scores.std(0), atol=1e-6)
    np.testing.assert_allclose(
        several["word_scores_spread"], np.std([one["word_scores"] for one in each], axis=0), atol=1e-6
    )
    np.testing.assert_allclose(several["baseline_spread"][0], several["token_scores_spread"], atol=1e-6)
    assert "token_scores_spread" not in each[0]
    for k, group in enumerate(several["groups"]):
        assert group["idg"] == pytest.approx(np.mean([one["groups"][k]["idg"] for one in each]), rel=1e-3, abs=1e-6)


def test_uniform_ones_of_a_text_and_a_list_of_texts() -> None:
    several = ask_text(baseline="uniform:3", seed=2, sequence=["good film", "the camera is bad"])
    for answer, text in zip(several["answers"], ("good film", "the camera is bad"), strict=True):
        each = [ask_text(baseline="rand-unif", seed=seed, sequence=text)["token_scores"] for seed in (2, 3, 4)]
        np.testing.assert_allclose(answer["token_scores"], np.mean(each, axis=0), atol=1e-5)


def test_a_text_of_the_callers_own_stands_at_the_texts_places() -> None:
    same = ask_text(sequence="the camera is good", baseline_data="the camera is good")
    assert same["difference"] == pytest.approx(0, abs=1e-6)
    assert ["the input is the baseline" in warning for warning in same["warnings"]] == [True]
    answer = ask_text(sequence="the camera is good", baseline_data="the film is bad")
    other = ask_text(sequence="the film is bad", target_class=answer["target_class"])
    assert answer["baseline_value"] == pytest.approx(other["target_output"], abs=1e-5)
    scores = dict(zip(answer["tokens"], answer["token_scores"], strict=True))
    assert [token for token, score in scores.items() if score] == ["camera", "good"]


@pytest.mark.parametrize(("text", "words"), [("bad", "padding"), ("the film is not bad but i like it", "cut")])
def test_a_text_of_another_length_is_fitted_and_that_is_told(text: str, words: str) -> None:
    notes = ask_text(sequence="the camera is good", baseline_data=[text, "the film is bad"])["warnings"]
    assert [note for note in notes if note.startswith("baseline_data[0]: ") and words in note]
    assert not [note for note in notes if note.startswith("baseline_data[1]")]


def test_a_network_without_padding_takes_no_shorter_text(tmp_path: Path) -> None:
    service = service_of(prepared(saved(tmp_path, small_bert(), plain_tokenizer(pad=None))))
    asked = json_call(sequence="the camera is good", baseline_data="bad")
    assert refused(service.answer([asked])[0], 400, "at least as long")["field"] == "baseline_data"
    longer = json_call(sequence="the camera is good", baseline_data="the film is bad but i like it")
    assert service.answer([longer])[0].status == 200


def test_examples_of_texts(tmp_path: Path) -> None:
    service = with_examples(TEXTS, tmp_path, **{"a.txt": b"the film is bad", "b.txt": b"i like it"})
    answer = ask_text(service, sequence="the camera is good", baseline="examples")
    own = ask_text(
        sequence="the camera is good",
        baseline_data=[(tmp_path / one["baseline"].split("/")[1]).read_text() for one in answer["baselines"]],
    )
    assert answer["token_scores"] == own["token_scores"]


# ---------------------------------------------------------------------- formats
def test_every_format_carries_the_spread_and_the_single_ones() -> None:
    content = {**PICTURE, "baseline": ["black", "white"], "groups": "superpixels", "n_superpixels": 4}
    raw = {
        format: b"".join(SERVICE.answer([json_call(**content, format=format)])[0].body)
        for format in ("gzip", "safetensors", "npz", "html", "png")
    }
    tensors = torch.load(io.BytesIO(gzip.decompress(raw["gzip"])), weights_only=True)
    assert tensors["baseline_spread"].shape == (1, 8, 10)
    assert tensors["baseline_output"].shape == (2, 3)
    assert not {"integrated_directional_grads", "intermediates", "step_sizes", "alphas"} & tensors.keys()
    assert len(tensors["info"]["baselines"]) == 2
    for name, values in load(raw["safetensors"]).items():
        assert torch.equal(values, tensors[name]), name
    assert np.array_equal(np.load(io.BytesIO(raw["npz"]))["baseline_spread"], tensors["baseline_spread"])
    page = Page(raw["html"].decode())
    assert set(page.answers[0]["maps"][0]) == {"attribution", "spread"}
    assert "how far the baselines are apart" in page.text
    assert "the answer depends on the baseline" in page.text
    assert "from each baseline" in page.text
    assert page.answers[0]["path"]["first_of"] == 2
    assert raw["png"].startswith(b"\x89PNG")


def test_a_page_of_a_text_shows_what_depends_on_the_baseline() -> None:
    page = page_of(TEXTS.answer([json_call(**TEXT, baseline=["pad", "zero"], format="html")])[0])
    assert len(page.answers[0]["scores"][0]["words_spread"]) == len(page.answers[0]["words"])
    assert "the answer depends on the baseline" in page.text
    single = page_of(TEXTS.answer([json_call(**TEXT, format="html")])[0])
    assert "words_spread" not in single.answers[0]["scores"][0]
    assert "depends on the baseline" not in single.text


# ---------------------------------------------------------------------- bad requests
BAD: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "an unknown one in a list": ({"baseline": ["black", "grey"]}, 400, "baseline", "white"),
    "a text's": ({"baseline": "pad"}, 400, "baseline", "black"),
    "an empty list": ({"baseline": []}, 400, "baseline", "1 to 6"),
    "too many": ({"baseline": ["black"] * 7}, 400, "baseline", "1 to 6"),
    "a million": ({"baseline": ["black"] * 10**6}, 400, "baseline", "1 to 6"),
    "too many uniform ones": ({"baseline": "uniform:7"}, 400, "baseline", "1 to 6"),
    "too many in parts": ({"baseline": ["black", "uniform:3", "uniform:3"]}, 400, "baseline", "1 to 6"),
    "many uniform ones": ({"baseline": "uniform:999999999"}, 400, "baseline", "1 to 6"),
    "no uniform ones": ({"baseline": "uniform:0"}, 400, "baseline", "1 to 6"),
    "uniform without a number": ({"baseline": "uniform"}, 400, "baseline", "uniform:N"),
    "a negative number of them": ({"baseline": "uniform:-1"}, 400, "baseline", "uniform:N"),
    "half a number of them": ({"baseline": "uniform:1.5"}, 400, "baseline", "uniform:N"),
    "a number": ({"baseline": 5}, 400, "baseline", "black"),
    "true": ({"baseline": True}, 400, "baseline", "black"),
    "an object": ({"baseline": {}}, 400, "baseline", "black"),
    "a list in the list": ({"baseline": [["black"]]}, 400, "baseline", "black"),
    "examples where there are none": ({"baseline": "examples"}, 400, "baseline", "--examples"),
    "examples in a list where there are none": ({"baseline": ["black", "examples:2"]}, 400, "baseline", "--examples"),
    "gradients of several": (
        {"baseline": ["black", "white"], "fields": ["integrated_directional_grads"]}, 400, "fields", "one baseline",
    ),
    "nodes of several": ({"baseline": "uniform:2", "fields": ["alphas"]}, 400, "fields", "one baseline"),
    "the spread of one": ({"fields": ["baseline_spread"]}, 400, "fields", "several"),
    "data that is no picture": ({"baseline_data": base64_of(b"hello there")}, 415, "baseline_data", "JPEG"),
    "data that is not base64": ({"baseline_data": "no base64!"}, 400, "baseline_data", "base64"),
    "data that is damaged": ({"baseline_data": base64_of(OTHER[:-40])}, 400, "baseline_data", "cut short"),
    "data of a number": ({"baseline_data": 5}, 400, "baseline_data", "(H, W, 3)"),
    "nothing in the list": ({"baseline_data": [base64_of(OTHER), None]}, 400, "baseline_data", "number 1 of the list"),
    "the same name twice": ({"baseline": "black,white,black"}, 400, "baseline", "twice"),
    "the same data twice": ({"baseline_data": [base64_of(OTHER)] * 2}, 400, "baseline_data", "twice"),
    "no data in the list": ({"baseline_data": []}, 400, "baseline_data", "1 to 6"),
    "too much data": ({"baseline_data": [base64_of(OTHER)] * 7}, 400, "baseline_data", "1 to 6"),
    "a list of numbers": ({"baseline_data": [1, 2]}, 400, "baseline_data", "(H, W, 3)"),
    "an array outside a list": ({"baseline_data": pixels(2, 2).tolist()}, 400, "baseline_data", "(H, W, 3)"),
    "one bad one of two": ({"baseline_data": [base64_of(OTHER), "?"]}, 400, "baseline_data", "base64"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_baselines_are_answered_with_their_field_and_remedy(name: str) -> None:
    content, status, field, words = BAD[name]
    assert refused(SERVICE.answer([json_call(**PICTURE, **content)])[0], status, words)["field"] == field


@pytest.mark.parametrize(("content", "status"), [(gif(), 415), (OTHER[:-40], 400), (b"hello there", 400)])
def test_a_bad_file_in_a_form_is_told_as_one(content: bytes, status: int) -> None:
    reply = SERVICE.answer([call(data=encoded(pixels()), baseline_data=bytearray(content))])[0]
    assert refused(reply, status, "")["field"] == "baseline_data"


def test_a_large_picture_is_too_large_as_a_baseline_too() -> None:
    service = small_service(max_picture_pixels=300)
    asked = json_call(**PICTURE, baseline_data=base64_of(encoded(pixels(20, 20))))
    assert refused(service.answer([asked])[0], 413, "smaller")["field"] == "baseline_data"


def test_more_examples_than_there_are_is_told(tmp_path: Path) -> None:
    service = with_examples(SERVICE, tmp_path, a=OTHER)
    asked = json_call(**PICTURE, baseline="examples:2")
    assert refused(service.answer([asked])[0], 400, "1 examples")["field"] == "baseline"


def test_several_maps_that_do_not_fit_are_refused() -> None:
    service = small_service(max_answer_mb=1, max_baselines=1000, max_targets=20)
    asked = json_call(**PICTURE, baseline="uniform:1000", target_class=[0, 1, 2] * 6, format="json")
    assert refused(service.answer([asked])[0], 413, "fewer")["field"] == "fields"


BAD_TEXTS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "an unknown one in a list": ({"baseline": ["pad", "black"]}, 400, "baseline", "rand-norm"),
    "an empty text": ({"baseline_data": " "}, 400, "baseline_data", "empty"),
    "nothing in the list": ({"baseline_data": [None]}, 400, "baseline_data", "number 0 of the list"),
    "a number": ({"baseline_data": 5}, 400, "baseline_data", "not int"),
    "a list of numbers": ({"baseline_data": [1]}, 400, "baseline_data", "not int"),
    "half a character": ({"baseline_data": "\ud800"}, 400, "baseline_data", "half a character"),
    "too many": ({"baseline_data": ["good"] * 7}, 400, "baseline_data", "1 to 6"),
    "too long a one": ({"baseline_data": "good " * 300_000}, 413, "baseline_data", "shorter"),
    "gradients of several": (
        {"baseline": "uniform:2", "fields": ["intermediate_gradients"]}, 400, "fields", "one baseline",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_bad_baselines_of_a_text_are_answered_with_their_field_and_remedy(name: str) -> None:
    content, status, field, words = BAD_TEXTS[name]
    assert refused(TEXTS.answer([json_call(**TEXT, **content)])[0], status, words)["field"] == field
