"""Networks whose positions follow from their tokens' indices: a baseline differs from the text in its words alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from intgrads.texts.embeddings import check_words_alone, find_embedding_layer
from numpy.typing import NDArray
from shared.texts import LABELS, LONGEST, plain_tokenizer, prepared, saved, service_of
from shared.toys import json_call, refused, told
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

TEXT = "The camera isn't good, but I like it!"
STEPS = 9
PAD = 1  # as in RoBERTa; MPNet knows no other
TOKENIZER = plain_tokenizer(pad=PAD)
TOKENS = ["pad", "unk", "mask", "period"]
DRAWN = ["zero", "rand-norm", "rand-unif"]
FAMILIES = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "mpnet": "MPNet"}


def made(config: Any) -> PreTrainedModel:
    model: PreTrainedModel = transformers.AutoModelForSequenceClassification.from_config(config)
    return model.eval()


def small(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{FAMILIES[kind]}Config")(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=LONGEST + PAD + 1, initializer_range=0.3, pad_token_id=PAD, id2label=LABELS,
    )  # fmt: skip
    model = made(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "LayerNorm" in name:
            nn.init.normal_(parameter, std=0.3)
    # transformers starts these as zeros; trained networks have something there.
    nn.init.normal_(model.get_input_embeddings().weight, std=0.5)
    nn.init.normal_(model.base_model.embeddings.position_embeddings.weight, std=0.5)
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, saved(tmp_path_factory.mktemp(request.param), small(request.param), TOKENIZER)


def reference(kind: str, ids: Tensor, baseline: str) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Return IG (L, D), the gradients (n, L, D) and f(x) - f(x') of the class ``mixed``, in float64 from its parts."""
    model = small(kind).double().requires_grad_(False)
    parts = model.base_model.embeddings
    places = torch.arange(len(ids)) + PAD + 1

    def embedded(words: Tensor) -> Tensor:
        summed = words + parts.position_embeddings.weight[places]
        if kind != "mpnet":
            summed = summed + parts.token_type_embeddings.weight[0]
        normal: Tensor = parts.LayerNorm(summed)
        return normal

    def output(points: Tensor) -> Tensor:
        logits: Tensor = model.classifier(model.base_model.encoder(points)[0])
        return logits[:, 2]

    words = parts.word_embeddings.weight
    x = embedded(words[ids])
    generator = torch.Generator().manual_seed(5)
    start = {
        "zero": lambda: torch.zeros_like(x),
        "rand-norm": lambda: torch.randn(x.shape, generator=generator, dtype=torch.float32).double(),
        "rand-unif": lambda: torch.rand(x.shape, generator=generator, dtype=torch.float32).double(),
    }.get(baseline, lambda: embedded(words[TOKENIZER.convert_tokens_to_ids(token_of(baseline))].expand_as(x)))()
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    alphas = torch.from_numpy((nodes + 1) / 2)[:, None, None]
    points = (start + alphas * (x - start)).requires_grad_()
    (gradients,) = torch.autograd.grad(output(points).sum(), points)
    integral = (torch.from_numpy(weights / 2)[:, None, None] * gradients).sum(0) * (x - start)
    difference = output(x[None]) - output(start[None])
    return integral.numpy(), gradients.numpy(), difference.item()


def token_of(baseline: str) -> str:
    return "." if baseline == "period" else f"[{baseline.upper()}]"


def relative(found: Any, expected: NDArray[Any]) -> float:
    return float(np.linalg.norm(np.array(found) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("baseline", TOKENS + DRAWN)
def test_they_equal_a_reference_of_their_own_parts(network: tuple[str, Path], baseline: str) -> None:
    kind, folder = network
    ask = json_call(
        sequence=TEXT, baseline=baseline, seed=5, n_steps=STEPS, target_class="mixed", format="json",
        fields=["integrated_gradients", "intermediate_gradients"],
    )  # fmt: skip
    answer = told(service_of(prepared(folder)).answer([ask])[0])
    integral, gradients, difference = reference(kind, torch.tensor(answer["input_ids"]), baseline)
    assert relative(answer["integrated_gradients"][0], integral) < 5e-6
    assert relative(answer["intermediate_gradients"], gradients) < 5e-6
    assert answer["difference"] == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_pads_have_their_places_positions(network: tuple[str, Path]) -> None:
    """They had none: every row of the baseline was the same."""
    ask = json_call(
        sequence=TEXT, method="riemann_left", n_steps=2, baseline="pad", format="json", fields=["intermediates"]
    )
    rows = np.array(told(service_of(prepared(network[1])).answer([ask])[0])["intermediates"])[0]
    assert len(np.unique(rows.round(4), axis=0)) == len(rows)


class Perverse(nn.Module):
    """A classifier that looks at its words to say where they are, or mixes them."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fault = fault
        self.embeddings = Embeddings(fault)
        self.head = nn.Linear(4, 2)

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.table

    def forward(self, input_ids: Tensor) -> SequenceClassifierOutput:
        states = self.embeddings(input_ids)
        return SequenceClassifierOutput(logits=self.head(states.tanh().mean(1)))


class Embeddings(nn.Module):
    """Its way in."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.table = nn.Embedding(50, 4)
        self.positions = nn.Embedding(50, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        words: Tensor = self.table.weight[input_ids] if self.fault == "no table" else self.table(input_ids)
        places = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        is_pad = (words == self.table.weight[PAD]).all(-1)
        if self.fault == "positions":
            places = places.masked_fill(is_pad, 0)
        if self.fault == "elsewhere":  # a text without pads does not show it
            words = words + is_pad.sum(1)[:, None, None]
        if self.fault == "there":  # nor one whose every place is one
            stands = (input_ids == PAD) & is_pad.all(1)[:, None]
            words = words.masked_fill(stands[:, :, None], 0.0)
        positions: Tensor = self.positions(places)
        return words + positions


IDS = torch.tensor([7, 8, 9, 20, 21, 9, 30, 2])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("positions", "its embeddings.positions hands out other values"),
        ("elsewhere", "a word changes what leaves its embeddings at other places"),
        ("there", "its embeddings changes where that token stands already"),
    ],
)
def test_a_network_whose_words_change_more_than_themselves_is_refused(fault: str, words: str) -> None:
    module, inputs = Perverse(fault).eval().requires_grad_(False), {"input_ids": IDS}
    layer = find_embedding_layer(module, inputs)
    assert layer.name == "embeddings"
    with pytest.raises(ValueError, match=f"baseline 'pad' more than its words would change: {words}"):
        check_words_alone(module, layer, inputs, {"unk": 0, "pad": PAD})


def test_a_network_that_does_not_call_its_table_is_refused() -> None:
    module, inputs = Perverse("no table").eval().requires_grad_(False), {"input_ids": IDS}
    with pytest.raises(ValueError, match="come from elsewhere"):
        check_words_alone(module, find_embedding_layer(module, inputs), inputs, {"pad": PAD})


@pytest.mark.parametrize("perverse", [False, True])
def test_one_whose_words_do_not_is_not(perverse: bool) -> None:
    module = Perverse("positions" if perverse else "").eval().requires_grad_(False)
    inputs = {"input_ids": IDS}
    check_words_alone(module, find_embedding_layer(module, inputs), inputs, {"unk": 0} if perverse else {"pad": PAD})
    assert not any(part._forward_hooks for part in module.modules())


def test_a_token_that_a_network_reads_as_no_word_is_no_baseline(tmp_path: Path) -> None:
    """ESM takes zeros for a masked word and scales the others by how many are masked."""
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.3, pad_token_id=PAD, token_dropout=True,
        mask_token_id=TOKENIZER.mask_token_id, position_embedding_type="rotary", id2label=LABELS,
    )  # fmt: skip
    model = made(config)
    service = service_of(prepared(saved(tmp_path, model, TOKENIZER)))
    ask = {"sequence": TEXT, "format": "json", "method": "riemann_left", "n_steps": 2, "fields": ["intermediates"]}
    error = refused(service.answer([json_call(**ask, baseline="mask")])[0], 400, "no word for 'mask'")
    assert error["field"] == "baseline"
    rows = np.array(told(service.answer([json_call(**ask, baseline="period")])[0])["intermediates"])[0]
    with torch.no_grad():
        period = model.get_input_embeddings().weight[TOKENIZER.convert_tokens_to_ids(".")] * (1 - 0.15 * 0.8)
    np.testing.assert_allclose(rows, period.expand(len(rows), -1), rtol=1e-5)


Build = Callable[[], PreTrainedModel]


def scaled() -> PreTrainedModel:
    """Gemma, whose table multiplies what it holds."""
    config = transformers.Gemma3TextConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, intermediate_size=32, pad_token_id=PAD, id2label=LABELS,
    )  # fmt: skip
    return made(config)


def in_place() -> PreTrainedModel:
    """CTRL, which multiplies in place what its table gave."""
    config = transformers.CTRLConfig(
        vocab_size=len(TOKENIZER), n_embd=16, n_layer=2, n_head=2, dff=32, n_positions=64, pad_token_id=PAD,
        id2label=LABELS,
    )  # fmt: skip
    return made(config)


@pytest.mark.parametrize(("build", "scale"), [(scaled, 4.0), (in_place, 1.0)], ids=["Gemma", "CTRL"])
def test_what_scales_words_scales_the_baselines_too(build: Build, scale: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build()
    service = service_of(prepared(saved(tmp_path, model, TOKENIZER)))
    ask = json_call(
        sequence=TEXT, baseline="unk", method="riemann_left", n_steps=2, format="json",
        fields=["intermediates", "output", "baseline_output"],
    )  # fmt: skip
    answer = told(service.answer([ask])[0])
    ids = torch.tensor([answer["input_ids"]])
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        unknown = weight[TOKENIZER.unk_token_id] * scale
        np.testing.assert_allclose(answer["output"], model(ids).logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.array(answer["intermediates"])[0], unknown.expand(ids.shape[1], -1), rtol=1e-5)
        # Of as many tokens: the text's last one is where the answer is read.
        weight.copy_(weight[TOKENIZER.unk_token_id].expand_as(weight))
        np.testing.assert_allclose(answer["baseline_output"], model(ids).logits, rtol=1e-4, atol=1e-5)
