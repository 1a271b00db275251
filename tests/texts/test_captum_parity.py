"""The same numbers as Captum on small random networks of text, for every baseline; Captum's way in is its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from intgrads.service import Service
from numpy.typing import NDArray
from shared.texts import (
    prepared,
    saved,
    service_of,
    small_bert,
    small_bert_tokenizer,
    small_xlnet,
    small_xlnet_tokenizer,
)
from shared.toys import json_call, told
from torch import Tensor

TEXT = "The camera isn't good, but I like it!"
STEPS = 16
TOKENS = ["pad", "unk", "mask", "period"]
DRAWN = ["zero", "rand-norm", "rand-unif"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("bert"), small_bert(), small_bert_tokenizer())


@pytest.fixture(scope="module")
def xlnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("xlnet"), small_xlnet(), small_xlnet_tokenizer())


def ours(folder: Path, baseline: str) -> tuple[dict[str, Any], Service[Any]]:
    service = service_of(prepared(folder))
    ask = json_call(
        sequence=TEXT, baseline=baseline, seed=5, n_steps=STEPS, target_class="mixed", format="json",
        fields=["integrated_gradients", "intermediates", "alphas"],
    )  # fmt: skip
    return told(service.answer([ask])[0]), service


def expect_equal(found: dict[str, Any], theirs: Tensor, delta: Tensor) -> None:
    np.testing.assert_allclose(np.array(found["integrated_gradients"]), theirs.numpy(), rtol=1e-4, atol=1e-6)
    assert found["convergence_delta"] == pytest.approx(delta.item(), abs=2e-6)


def token(service: Service[Any], name: str, ids: Tensor) -> Tensor:
    return torch.full_like(ids, service.network.text.tokens[name])


@pytest.mark.parametrize("baseline", TOKENS)
def test_bert_from_token_baselines(bert: Path, baseline: str) -> None:
    answer, service = ours(bert, baseline)
    model, ids = small_bert(), torch.tensor([answer["input_ids"]])
    captum = LayerIntegratedGradients(lambda ids: model(ids).logits, model.bert.embeddings)
    theirs, delta = captum.attribute(
        ids, token(service, baseline, ids), target=2, n_steps=STEPS, return_convergence_delta=True
    )
    expect_equal(answer, theirs, delta)


def drawn(baseline: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    if baseline == "zero":
        return torch.zeros(shape)
    draw = torch.randn if baseline == "rand-norm" else torch.rand
    return draw(shape, generator=generator)


@pytest.mark.parametrize("baseline", DRAWN)
def test_bert_from_baselines_that_leave_the_embedding_layer(bert: Path, baseline: str) -> None:
    answer, _ = ours(bert, baseline)
    model, ids = small_bert(), torch.tensor([answer["input_ids"]])

    def above(embeddings: Tensor) -> Tensor:
        logits: Tensor = model.classifier(model.bert.pooler(model.bert.encoder(embeddings).last_hidden_state))
        return logits

    x = model.bert.embeddings(ids).detach()
    theirs, delta = IntegratedGradients(above).attribute(
        x, drawn(baseline, x.shape[1:])[None], target=2, n_steps=STEPS, return_convergence_delta=True
    )
    expect_equal(answer, theirs.float(), delta)


@pytest.mark.parametrize("baseline", TOKENS + DRAWN)
def test_xlnet_at_its_word_embeddings(xlnet: Path, baseline: str) -> None:
    answer, service = ours(xlnet, baseline)
    model, ids = small_xlnet(), torch.tensor([answer["input_ids"]])
    words = model.transformer.word_embedding
    x = words(ids).detach()
    start = drawn(baseline, x.shape[1:])[None] if baseline in DRAWN else words(token(service, baseline, ids)).detach()
    theirs, delta = IntegratedGradients(lambda e: model(inputs_embeds=e).logits).attribute(
        x, start, target=2, n_steps=STEPS, return_convergence_delta=True
    )
    expect_equal(answer, theirs.float(), delta)


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_the_path_runs_from_the_baselines_embeddings_to_the_texts(kind: str, request: pytest.FixtureRequest) -> None:
    """Linear in alpha, from the baseline to the text's own embeddings: both ends follow from any two points."""
    answer, service = ours(request.getfixturevalue(kind), "period")
    model = small_bert() if kind == "bert" else small_xlnet()
    layer = model.bert.embeddings if kind == "bert" else model.transformer.word_embedding
    ids = torch.tensor([answer["input_ids"]])
    points: NDArray[Any] = np.array(answer["intermediates"])
    alphas = np.array(answer["alphas"])[:, :, None]
    with torch.no_grad():
        x, start = layer(ids).numpy(), layer(token(service, "period", ids)).numpy()
    np.testing.assert_allclose(points, start + alphas * (x - start), rtol=1e-4, atol=1e-5)
