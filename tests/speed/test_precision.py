"""`hybrid` computes outputs in float32 and gradients nearly so; `bfloat16` errs more; both say which they are."""

import time

import pytest
import timm
import torch
from intgrads import integrated_gradients
from intgrads.speed.precision import PRECISIONS, Precision, at_precision, pays
from intgrads.speed.preparation import prepare
from shared.choices import Preferring
from shared.toys import call, encoded, pixels, small_network, small_service, told
from torch import nn

EPSILON = 2.0**-8
"""Relative rounding error of bfloat16."""


def network() -> nn.Module:
    return prepare(small_network().eval(), (3, 8, 10), torch.device("cpu"), Preferring())


def test_float32_is_the_network_itself() -> None:
    module = network()
    assert at_precision(module, "float32") is module


def test_hybrid_rounds_the_backward_pass_alone() -> None:
    module, x = network(), torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    hybrid = at_precision(module, "hybrid")
    exact, rounded = (integrated_gradients(n, x, target=0) for n in (module, hybrid))
    assert torch.equal(rounded.output, exact.output)
    assert torch.equal(rounded.baseline_output, exact.baseline_output)
    assert exact.gradients is not None
    assert rounded.gradients is not None
    difference = (rounded.gradients - exact.gradients).abs().max() / exact.gradients.abs().max()
    assert 0 < difference < 4 * EPSILON


def test_hybrid_shares_its_weights() -> None:
    module = network()
    own = {p.data_ptr() for p in module.parameters()}
    assert {p.data_ptr() for p in at_precision(module, "hybrid").parameters()} == own


def test_bfloat16_rounds_everything() -> None:
    module, x = network(), torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    exact, rounded = (integrated_gradients(n, x, target=0) for n in (module, at_precision(module, "bfloat16")))
    assert rounded.output.dtype == torch.float32
    difference = (rounded.output - exact.output).abs().max() / exact.output.abs().max()
    assert 0 < difference < 8 * EPSILON
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.Conv2d(8, 6, 3, padding="same", dilation=2),
        nn.Conv2d(8, 6, 3, padding="valid"),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
        nn.Sequential(nn.GroupNorm(2, 8), nn.Conv2d(8, 6, 1)),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)),
        nn.Sequential(nn.Linear(6, 3), nn.ReLU(inplace=True)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 6, 1), nn.ReLU(inplace=True)),
    ],
)
@pytest.mark.parametrize("precision", ["hybrid", "bfloat16"])
def test_every_kind_of_layer(layer: nn.Module, precision: Precision) -> None:
    torch.manual_seed(0)
    for part in layer.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.reset_parameters()
    module = prepare(nn.Sequential(layer, nn.Flatten(), nn.Tanh()).eval(), (8, 6, 6), torch.device("cpu"))
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = torch.autograd.grad(module(x).sum(), x)[0]
    found = torch.autograd.grad(at_precision(module, precision)(x).sum(), x)[0]
    assert (found - expected).abs().max() < 16 * EPSILON * expected.abs().max()


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "edgenext_xx_small"])
def test_networks_of_timm(name: str) -> None:
    """They change results in place, and look at the weights of their layers."""
    torch.manual_seed(0)
    module = prepare(timm.create_model(name, num_classes=5).eval(), (3, 64, 64), torch.device("cpu"), Preferring())
    x = torch.randn(2, 3, 64, 64).requires_grad_()
    outputs = {precision: at_precision(module, precision)(x) for precision in PRECISIONS}
    slopes = {precision: torch.autograd.grad(y[:, 0].sum(), x)[0] for precision, y in outputs.items()}
    assert torch.equal(outputs["hybrid"], outputs["float32"])
    assert 0 < (slopes["hybrid"] - slopes["float32"]).norm() < 4 * EPSILON * slopes["float32"].norm()
    assert 0 < (outputs["bfloat16"] - outputs["float32"]).abs().max() < 0.1 * outputs["float32"].abs().max()


def test_a_batch_may_mix_them(monkeypatch: pytest.MonkeyPatch) -> None:
    service = small_service()
    monkeypatch.setattr("intgrads.service.pays", lambda _: True)
    calls = [call(data=encoded(pixels()), format="json", precision=p) for p in (*PRECISIONS, "float32")]
    answers = [told(reply) for reply in service.answer(calls)]
    assert [a["precision"] for a in answers] == [*PRECISIONS, "float32"]
    assert answers[0] == answers[3]
    assert answers[0]["prediction"]["logit"] == answers[1]["prediction"]["logit"]
    assert answers[0]["prediction"]["logit"] != answers[2]["prediction"]["logit"]
    assert all(abs(a["convergence_delta"]) < 0.05 * abs(a["difference"]) for a in answers)


def test_an_unknown_precision_is_refused() -> None:
    (reply,) = small_service().answer([call(data=encoded(pixels()), precision="float16")])
    assert reply.status == 400
    assert told(reply)["field"] == "precision"
    assert "hybrid" in told(reply)["message"]


def test_where_bfloat16_is_emulated_float32_is_computed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intgrads.service.pays", lambda _: False)
    service = small_service()
    assert service.describe()["precisions"] == ["float32"]
    calls = [call(data=encoded(pixels()), format="json", precision=p) for p in PRECISIONS]
    exact, *others = [told(reply) for reply in service.answer(calls)]
    for precision, answer in zip(PRECISIONS[1:], others, strict=True):
        (warning,) = set(answer.pop("warnings")) - set(exact["warnings"])
        assert f"precision {precision} was not used" in warning
        assert {**answer, "warnings": exact["warnings"]} == exact


@pytest.mark.parametrize("faster", [torch.float32, torch.bfloat16])
def test_whether_it_pays_is_measured(faster: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the faster type moves less."""
    now = [0.0]

    class Matrix:
        def __init__(self, dtype: torch.dtype) -> None:
            self.seconds = 1.0 if dtype == faster else 2.0

        def __matmul__(self, _: object) -> None:
            now[0] += self.seconds

    monkeypatch.setattr(torch, "ones", lambda *_, dtype: Matrix(dtype))
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert pays.__wrapped__(torch.device("cpu")) == (faster == torch.bfloat16)
    assert pays.__wrapped__(torch.device("cuda"))
