"""Whatever a network does with its layers, prepared it is the same function; where it cannot be, it is served plain."""

import logging

import pytest
import timm
import torch
from intgrads.speed import preparation
from intgrads.speed.precision import PRECISIONS, at_precision
from intgrads.speed.preparation import prepare
from shared.sameness import assert_same, with_statistics
from shared.toys import small_network
from timm.layers import GroupNormAct, StdConv2dSame
from torch import Tensor, nn
from torch.nn import functional

CPU = torch.device("cpu")


class Network(nn.Module):
    """Three channels to two outputs by way of six."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 2)

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.features(x)).mean((2, 3)))
        return logits


class _NormTwice(Network):
    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(torch.relu(self.norm(self.conv(x))))
        return y


class _NormUnderTwoNames(Network):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Sequential(nn.Tanh(), self.norm)

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.again(self.norm(self.conv(x)))
        return y


class _ConcatenatedWithItself(Network):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(12), nn.Linear(12, 2)

    def features(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        normed: Tensor = self.norm(torch.cat([y, y], dim=1))
        return normed


class _StandardisesItsOwnWeights(Network):
    def __init__(self) -> None:
        super().__init__()
        self.conv = StdConv2dSame(3, 6, 4, stride=4)

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class _LooksAtItsLayers(Network):
    def features(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x.to(self.conv.weight.dtype)))
        normed: Tensor = self.norm(y.to(self.norm.weight.dtype))
        return normed


class _AVectorThroughALinearLayer(Network):
    def __init__(self) -> None:
        super().__init__()
        self.vector, self.linear = nn.Parameter(torch.randn(5)), nn.Linear(5, 6)

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * self.linear(self.vector)[:, None, None]
        return y


class _GroupNormOfARow(Network):
    def __init__(self) -> None:
        super().__init__()
        self.norm = GroupNormAct(6, 3)

    def features(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        normed: Tensor = self.norm(y.flatten(2))
        return normed.view_as(y)


class _ByKeyword(Network):
    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(input=self.conv(input=x))
        return y


class _UsesItsWeightsElsewhere(Network):
    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y + functional.conv2d(x, self.conv.weight, stride=4)


class _UsesItsStatisticsElsewhere(Network):
    def features(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.conv(x))
        normed: Tensor = self.norm(y)
        return normed + functional.batch_norm(y, self.norm.running_mean, self.norm.running_var)


PREPARED = [
    _NormTwice,
    _NormUnderTwoNames,
    _ConcatenatedWithItself,
    _StandardisesItsOwnWeights,
    _LooksAtItsLayers,
    _AVectorThroughALinearLayer,
    _GroupNormOfARow,
]
SERVED_PLAIN = [_ByKeyword, _UsesItsWeightsElsewhere, _UsesItsStatisticsElsewhere]


@pytest.mark.parametrize("kind", [*PREPARED, *SERVED_PLAIN])
def test_it_is_the_same_function(kind: type[Network], caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    plain = with_statistics(kind())
    with caplog.at_level(logging.WARNING):
        prepared = prepare(plain, (3, 16, 16), CPU)
    assert ("served as it came" in caplog.text) == (kind in SERVED_PLAIN)
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    assert_same(plain, prepared, torch.randn(2, 3, 16, 16))


def test_a_small_map_whose_weights_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    plain = with_statistics(timm.create_model("xcit_nano_12_p16_224", num_classes=5, img_size=32))
    assert_same(plain, prepare(plain, (3, 32, 32), CPU), torch.randn(2, 3, 32, 32))
    assert "served as it came" not in caplog.text


@pytest.mark.parametrize("step", ["fold", "choose_products"])
@pytest.mark.parametrize("fails", [True, False])
def test_a_step_that_goes_wrong_is_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str, fails: bool
) -> None:
    """By failing, or by another function: the answers are right all the same, and the log says so."""
    right = getattr(preparation, step)

    def wrong(module: nn.Module, *arguments: object) -> object:
        if fails:
            raise KeyError("some layer")
        result = right(module, *arguments)
        with torch.no_grad():
            next(p for p in (result or module).parameters() if p.dim() > 1).mul_(1.5)
        return result

    monkeypatch.setattr(preparation, step, wrong)
    plain = small_network().eval()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    prepared = prepare(plain, (3, 8, 10), CPU)
    assert ("some layer" if fails else "other outputs") in caplog.text
    assert prepared.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in prepared.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_hybrid_leaves_what_only_looks_linear() -> None:
    class Router(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, functional.normalize(self.weight, dim=1))

    module = nn.Sequential(nn.Flatten(), Router(12, 3)).requires_grad_(False)
    x = torch.randn(2, 3, 2, 2).requires_grad_()
    one, other = (torch.autograd.grad(at_precision(module, p)(x).sum(), x)[0] for p in PRECISIONS[:2])
    assert torch.equal(one, other)
