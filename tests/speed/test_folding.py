"""A folded network is the plain one: outputs and input gradients agree in float64 to 1e-10."""

import pytest
import timm
import torch
from intgrads.networks import bit, lanet
from intgrads.speed.folding import fold
from shared.networks import BIT_SMALL, LANET_SMALL, random_bit, random_lanet
from shared.sameness import assert_same, with_statistics
from shared.toys import small_network
from timm.layers import BatchNormAct2d
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn


@pytest.mark.parametrize(
    ("name", "size", "norms"),
    [("tf_efficientnet_lite0", 64, 0), ("resnet10t", 64, 0), ("resnetv2_50x1_bit", 32, 0), ("densenet121", 64, None)],
)
def test_networks_of_timm(name: str, size: int, norms: int | None) -> None:
    plain = with_statistics(timm.create_model(name, num_classes=5))
    folded = fold(plain)
    assert_same(plain, folded, torch.randn(2, 3, size, size))
    if norms is not None:
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules()) == norms
    assert not [layer for layer in folded.modules() if type(layer).__name__ == "StdConv2d"]
    assert not any(p.requires_grad for p in folded.parameters())
    assert not folded.training


@pytest.mark.parametrize(
    ("plain", "weights"),
    [
        (bit.BiT().build(BIT_SMALL | {"num_classes": 5}), random_bit(BIT_SMALL, 5)),
        (lanet.LaNet().build(LANET_SMALL | {"num_classes": 5}), random_lanet(LANET_SMALL, 5)),
    ],
)
def test_bit_and_lanet(plain: nn.Module, weights: dict[str, Tensor]) -> None:
    """Nothing that is constant is left to compute, and what is left computes the same."""
    names = bit.pth_name if isinstance(plain, ResNetV2) else str
    plain.load_state_dict({name: weights[names(name)] for name in plain.state_dict()})
    plain.double().eval()
    folded = fold(plain)
    assert_same(plain, folded, torch.randn(2, 3, 32, 32))
    left = {type(layer).__name__ for layer in folded.modules()}
    assert left & {"BatchNorm2d", "StdConv2d", "StandardisedConv2d"} == set()


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), BatchNormAct2d(3), BatchNormAct2d(3, act_layer=nn.SiLU)],
)
def test_a_batch_norm_without_a_convolution_is_an_affine_map(norm: nn.Module) -> None:
    plain = with_statistics(nn.Sequential(nn.Tanh(), norm, nn.Flatten()))
    folded = fold(plain)
    assert not [layer for layer in folded.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert_same(plain, folded, torch.randn(2, 3, 8, 10))


def test_a_batch_norm_without_statistics_stays() -> None:
    plain = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()).double()
    assert_same(plain, fold(plain), torch.randn(2, 3, 8, 10))


class BetweenTokens(nn.Module):
    """Tokens to a map and back around a normalisation, as networks of attention and convolution have it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.norm(x.view(-1, 6, 4, 4)).flatten(2).transpose(1, 2)
        return tokens.mean(1)


def test_one_row_has_the_gradient_that_it_has_among_others() -> None:
    """With PyTorch's own batch normalisation on a CPU it has not, where layouts differ."""
    folded = fold(with_statistics(BetweenTokens()))
    rows = torch.randn(3, 96, dtype=torch.float64).requires_grad_()
    among = torch.autograd.grad(folded(rows)[:, 0].sum(), rows)[0]
    for row, expected in zip(rows.detach(), among, strict=True):
        alone = row[None].requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(folded(alone)[:, 0].sum(), alone)[0][0], expected)


def test_the_plain_network_is_left_alone() -> None:
    plain = with_statistics(small_network())
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    assert_same(plain, fold(plain), torch.randn(2, 3, 8, 10))
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())


def test_a_float32_network_stays_one() -> None:
    folded = fold(small_network().eval())
    assert {p.dtype for p in folded.parameters()} == {torch.float32}


class Shared(nn.Module):
    """One convolution before a normalisation and beside it, and a second normalisation of another's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        out: Tensor = self.head((self.first(y) + y + self.second(self.conv(2 * x))).mean((2, 3)))
        return out


class Concatenated(Shared):
    """Two convolutions concatenated before a normalisation, and one of them, or the whole, seen elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.one, self.other = (nn.Conv2d(3, 2, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        first, whole = self.left(x), torch.cat([self.one(x), self.other(x)], dim=1)
        out: Tensor = self.head(
            (self.first(torch.cat([first, self.right(x)], dim=1)) + self.second(whole) + whole).mean((2, 3))
            + first.sum((1, 2, 3))[:, None]
        )
        return out


class Untraceable(Shared):
    """What it does depends on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else 2 * x)


@pytest.mark.parametrize("module", [Shared, Concatenated, Untraceable])
def test_what_cannot_be_folded_stays_right(module: type[nn.Module]) -> None:
    plain = with_statistics(module())
    assert_same(plain, fold(plain), torch.rand(2, 3, 8, 8))
