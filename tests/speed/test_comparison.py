"""A prepared network that is another function is found as it is loaded, however small the mistake."""

import logging

import pytest
import torch
from intgrads.networks.lanet import ARCHITECTURES, LaNet
from intgrads.speed import comparison, preparation
from intgrads.speed.choices import Choices
from intgrads.speed.folding import fold
from intgrads.speed.preparation import prepare
from shared.sameness import with_statistics
from shared.toys import small_network
from torch import Tensor, nn
from torch.nn import functional

CPU = torch.device("cpu")
SHAPE = (3, 16, 16)


class Gated(nn.Module):
    """Where a picture is bright, a convolution's weights are used once more, where folding does not see them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.conv2, self.norm = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.conv(x))
        gate = (x.mean((1, 2, 3), keepdim=True) > 1).to(x)
        z = self.norm(self.conv2(y)) + gate * functional.conv2d(y, self.conv2.weight)
        logits: Tensor = self.head(torch.tanh(z).mean((2, 3)))
        return logits


class Remembering(nn.Module):
    """Its output depends on what it saw before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)
        self.seen = nn.Buffer(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.mul_(0.5).add_(0.5 * x.detach().mean())
        logits: Tensor = self.head(torch.tanh(self.conv(x) - 0.01 * self.seen).mean((2, 3)))
        return logits


class WithoutGradient(nn.Module):
    """A branch of it is outside of what PyTorch differentiates; traced, it would be inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.branch, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = 0.3 * torch.tanh(self.branch(x))
        logits: Tensor = self.head(torch.tanh(self.conv(x) + y).mean((2, 3)))
        return logits


def passed_once(plain: nn.Module, prepared: nn.Module) -> bool:
    """Whether the comparison that this one replaces let it pass: two noisy rows, 2 % in outputs, half of a gradient."""
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = []
    for network in (plain, prepared):
        points = x.clone().requires_grad_()
        output = network(points)
        found.append((output.detach(), torch.autograd.grad(output[:, 0].sum(), points)[0]))
    (expected, slope), (output, other) = found
    near = (output - expected).abs().max() <= 0.02 * expected.abs().max()
    return bool(near and (other - slope).norm() <= 0.5 * slope.norm())


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Gated, "other outputs"), (Remembering, "changes its own buffers"), (WithoutGradient, "another gradient")],
)
def test_networks_that_two_noisy_rows_did_not_tell_apart(
    kind: type[nn.Module], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(2)
    plain = with_statistics(kind()).float()
    assert passed_once(plain, preparation._prepared(plain, SHAPE, CPU, Choices(measure=False)))
    with caplog.at_level(logging.WARNING):
        served = prepare(plain, SHAPE, CPU)
    assert words in caplog.text
    assert type(served) is kind


@pytest.mark.parametrize("step", ["fold", "replace_group_norm", "replace_convolutions"])
@pytest.mark.parametrize("mistake", [1.01, 1 + 1e-6])
def test_a_step_that_is_wrong_by_little_is_found(
    step: str, mistake: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = getattr(preparation, step)

    def wrong(module: nn.Module, *arguments: object) -> object:
        result = right(module, *arguments)
        with torch.no_grad():
            next(p for p in (result or module).parameters() if p.dim() > 1).mul_(mistake)
        return result

    plain = small_network().eval()
    monkeypatch.setattr(preparation, step, wrong)
    if mistake == 1.01:
        assert passed_once_on_small(plain, preparation._prepared(plain, (3, 8, 10), CPU, Choices(measure=False)))
    prepare(plain, (3, 8, 10), CPU)
    assert "other outputs" in caplog.text


def passed_once_on_small(plain: nn.Module, prepared: nn.Module) -> bool:
    x = torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    expected = plain(x)
    return bool((prepared(x) - expected).abs().max() <= 0.02 * expected.abs().max())


def test_what_only_float32_computes_is_held_to_the_plain_networks_rounding(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OneDNN's products run in float32 alone, so that no comparison of the network in float64 sees them."""

    def wrong(module: nn.Module, _: object) -> None:
        with torch.no_grad():
            next(p for p in module.parameters() if p.dim() > 1).mul_(1.05)

    monkeypatch.setattr(preparation, "choose_products", wrong)
    prepare(small_network().eval(), (3, 8, 10), CPU)
    assert "other outputs" in caplog.text


def test_lanet_is_prepared_though_its_outputs_overflow_float32(caplog: pytest.LogCaptureFixture) -> None:
    """As with PyTorch's own initialisation: its 24 cells add up to logits that float64 alone holds."""
    torch.manual_seed(0)
    small = {**ARCHITECTURES["lanet"], "cells": 4, "channels": 8, "num_classes": 10}
    plain = LaNet().build(small).eval().requires_grad_(False)
    with torch.no_grad():
        plain.get_parameter("classifier.weight").fill_(3e38)
        assert not torch.isfinite(plain(3 * torch.randn(1, 3, 32, 32))).all()
    prepare(plain, (3, 32, 32), CPU)
    assert "served as it came" not in caplog.text


@pytest.mark.parametrize("limit", [0, comparison.MOST_PARAMETERS])
def test_outputs_that_are_never_finite_are_told_as_that(
    limit: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(comparison, "MOST_PARAMETERS", limit)
    plain = small_network().eval()
    with torch.no_grad():
        next(plain.parameters()).fill_(float("inf"))
    prepare(plain, (3, 8, 10), CPU)
    assert "its outputs are not finite numbers" in caplog.text


def test_networks_too_large_for_a_copy_in_float64_are_compared_layer_by_layer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(comparison, "MOST_PARAMETERS", 0)
    plain = small_network().eval()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    prepared = prepare(plain, (3, 8, 10), CPU, Choices(measure=False))
    assert "served as it came" not in caplog.text
    assert type(prepared) is not type(plain)
    for network in (plain, prepared):
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    torch.manual_seed(2)
    prepare(with_statistics(Gated()).float(), SHAPE, CPU)
    assert "other outputs" in caplog.text


def test_a_mistake_of_a_thousandth_in_a_network_too_large_to_copy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(comparison, "MOST_PARAMETERS", 0)

    def wrong(module: nn.Module) -> nn.Module:
        folded = fold(module)
        with torch.no_grad():
            next(p for p in folded.parameters() if p.dim() > 1).mul_(1.001)
        return folded

    monkeypatch.setattr(preparation, "fold", wrong)
    prepare(small_network().eval(), (3, 8, 10), CPU)
    assert "other outputs" in caplog.text
