"""The baselines of a text are what the table in the README's section Text says, at every place of the text."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.reading import read_request
from intgrads.settings import Settings
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.request import TextRequest
from numpy.typing import NDArray
from shared.texts import bert_service, small_bert, xlnet_service
from shared.toys import json_call, told

BERT, XLNET = bert_service(), xlnet_service()
TEXT = "the camera is not good"
IDS = {"pad": 0, "unk": 1, "mask": 4, "period": 24}
NAMES = [*IDS, "zero", "rand-norm", "rand-unif"]


def baseline(name: str, seed: int = 0, text: str = TEXT) -> NDArray[Any]:
    request, _ = read_request(json_call(sequence=text, baseline=name, seed=seed), Settings(), TextRequest)
    subject = BERT.network.read(request, Settings())[0].look(lambda: None)
    assert subject.integrand is not None
    return subject.integrand.baseline.numpy()


@pytest.mark.parametrize("name", IDS)
def test_a_tokens_baseline_is_that_token_everywhere_as_the_embedding_layer_gives_it(name: str) -> None:
    """Positions and LayerNorm included; special tokens do not keep their own embedding."""
    layer = small_bert().bert.embeddings
    with torch.no_grad():
        expected = layer(torch.full((1, 7), IDS[name]))[0].numpy()
    np.testing.assert_allclose(baseline(name), expected, atol=1e-6)


def test_zero_is_zeros_leaving_the_layer_and_not_a_zero_word_within_it() -> None:
    assert not baseline("zero").any()
    assert baseline("zero").shape == (7, 16)


def test_the_random_ones_are_what_their_names_say_and_seeded() -> None:
    long = " ".join(["camera"] * 38)
    normal, uniform = baseline("rand-norm", text=long), baseline("rand-unif", text=long)
    assert abs(normal.mean()) < 0.15
    assert abs(normal.std() - 1) < 0.1
    assert normal.min() < -1
    assert 0 <= uniform.min() < 0.05
    assert 0.95 < uniform.max() <= 1
    for name in ("rand-norm", "rand-unif"):
        assert (baseline(name, 7) == baseline(name, 7)).all()
        assert (baseline(name, 7) != baseline(name, 8)).any()


@pytest.mark.parametrize(
    ("service", "name"),
    [(BERT, name) for name in NAMES] + [(XLNET, name) for name in NAMES if name != "zero"],
    ids=[f"bert {name}" for name in NAMES] + [f"xlnet {name}" for name in NAMES if name != "zero"],
)
def test_completeness_holds_from_each_of_them_special_tokens_and_words_together(service: Any, name: str) -> None:
    ask = json_call(sequence=TEXT, baseline=name, format="json", fields=["integrated_gradients"], n_steps=300)
    answer = told(service.answer([ask])[0])
    total = np.array(answer["integrated_gradients"]).sum()
    assert total == pytest.approx(answer["difference"], abs=0.02 * abs(answer["difference"]) + 1e-4)
    assert sum(answer["token_scores"]) == pytest.approx(total, abs=1e-5)
    special = [
        score for score, (start, end) in zip(answer["token_scores"], answer["offsets"], strict=True) if start == end
    ]
    assert len(special) == 2
    assert sum(answer["word_scores"]) + sum(special) == pytest.approx(total, abs=1e-5)


def test_where_a_path_from_zeros_does_not_converge_the_answer_says_so() -> None:
    """XLNet's first layer normalises zeros: f jumps within a millionth of the path, and no fixed rule sees it."""
    answer = told(XLNET.answer([json_call(sequence=TEXT, baseline="zero", format="json")])[0])
    assert not answer["converged"]
    assert answer["convergence_delta"] == pytest.approx(sum(answer["token_scores"]) - answer["difference"], abs=1e-5)
    assert any("has not converged" in warning for warning in answer["warnings"])


def test_pad_is_the_default() -> None:
    default, pad = (
        told(BERT.answer([json_call(sequence=TEXT, format="json", **b)])[0]) for b in ({}, {"baseline": "pad"})
    )
    assert default == pad
    assert default["baseline"] == "pad"


@pytest.mark.parametrize("name", IDS)
def test_a_vocabulary_without_the_token_says_which_baselines_there_are(name: str) -> None:
    service = bert_service()
    network: TextClassifier = service.network
    left = {key: index for key, index in network.text.tokens.items() if key != name}
    service.network = TextClassifier(network.module, replace(network.text, tokens=left), network.labels)
    error = told(service.answer([json_call(sequence=TEXT, baseline=name)])[0])
    assert (error["code"], error["field"]) == (400, "baseline")
    assert "rand-norm" in error["message"]
    assert service.answer([json_call(sequence=TEXT, baseline="zero")])[0].status == 200
