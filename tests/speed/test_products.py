"""A layer turned into oneDNN's products is the plain layer: outputs and input gradients agree."""

import pytest
import torch
from intgrads.speed import products
from intgrads.speed.products import Product, replace_linear
from intgrads.speed.small_maps import MapProduct, PixelProduct, replace_small_convolutions
from shared.sameness import assert_same
from torch import nn

needs_onednn = pytest.mark.skipif(not products.available(), reason="this build of PyTorch has no oneDNN")


def gradient(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad((layer(x) ** 2).sum(), x)[0]


@needs_onednn
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (1, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_gives_what_the_plain_layer_gives(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(7, 4, bias=bias)
    ours, x = Product(plain.weight, plain.bias), torch.randn(shape)
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(gradient(ours, x), gradient(plain, x))
    strided = torch.randn(*shape[:-1], 14)[..., ::2]
    torch.testing.assert_close(gradient(ours, strided), gradient(plain, strided))


def test_a_relu_may_change_the_result_in_place() -> None:
    """As in squeeze-and-excitation: a 1 x 1 convolution on one pixel, then a ReLU in place."""
    layer = nn.Conv2d(4, 6, 1)
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), layer, nn.ReLU(inplace=True), nn.Flatten())
    ours = nn.Sequential(nn.AdaptiveAvgPool2d(1), layer, nn.ReLU(inplace=True), nn.Flatten())
    replace_small_convolutions(ours, (4, 5, 5))
    assert type(ours[1]) is PixelProduct
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(gradient(ours, x), gradient(plain, x))


def test_without_onednn_it_is_the_plain_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "available", lambda: False)
    monkeypatch.setattr(products, "_product", None)
    plain, x = nn.Linear(7, 4), torch.randn(5, 7)
    ours = Product(plain.weight, plain.bias)
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(gradient(ours, x), gradient(plain, x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_the_plain_way(dtype: torch.dtype) -> None:
    plain, x = nn.Linear(7, 4).to(dtype), torch.randn(5, 7, dtype=dtype)
    ours = Product(plain.weight, plain.bias)
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(gradient(ours, x), gradient(plain, x))


def test_only_plain_linear_layers_are_replaced() -> None:
    class Own(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2)), Own(3, 3))
    weight = network[0].weight
    replace_linear(network)
    assert [type(layer) for layer in (network[0], network[1][0], network[2])] == [Product, Product, Own]  # type: ignore[index]
    assert torch.equal(network[0].weight, weight)  # type: ignore[arg-type]


CONVOLUTIONS = {
    "3x3 on 2x2": (nn.Conv2d(4, 6, 3, padding=1), 2, MapProduct),
    "3x3 of stride 2 on 2x2": (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), 2, MapProduct),
    "5x5 on 2x2": (nn.Conv2d(4, 4, 5, padding=2), 2, MapProduct),
    "dilated on 3x3": (nn.Conv2d(4, 4, 5, padding="same", dilation=2), 3, nn.Conv2d),
    "dilated on 2x2": (nn.Conv2d(4, 4, 5, padding=4, dilation=2), 2, MapProduct),
    "padding in words": (nn.Conv2d(4, 4, 5, padding="same", dilation=2), 2, nn.Conv2d),
    "3x3 on 1x1": (nn.Conv2d(8, 8, 3, padding=1), 1, MapProduct),
    "1x1 of stride 2 on 5x5": (nn.Conv2d(4, 6, 1, stride=2), 5, PixelProduct),
    "1x1 on 2x2": (nn.Conv2d(4, 6, 1, bias=False), 2, PixelProduct),
    "1x1 on 5x5": (nn.Conv2d(4, 6, 1), 5, nn.Conv2d),
    "1x1 with padding": (nn.Conv2d(4, 6, 1, padding=1), 5, nn.Conv2d),
    "3x3 on 9x9": (nn.Conv2d(4, 6, 3, padding=1), 9, nn.Conv2d),
    "grouped": (nn.Conv2d(4, 4, 3, padding=1, groups=2), 2, nn.Conv2d),
    "reflected": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), 2, nn.Conv2d),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_on_small_maps(name: str) -> None:
    layer, side, becomes = CONVOLUTIONS[name]
    plain = nn.Sequential(layer, nn.Tanh(), nn.Flatten()).double()
    ours = nn.Sequential(layer, nn.Tanh(), nn.Flatten())
    replace_small_convolutions(ours, (layer.in_channels, side, side))
    assert type(ours[0]) is becomes
    assert_same(plain, ours, torch.randn(3, layer.in_channels, side, side))


def test_a_convolution_that_sees_two_sizes_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small: torch.Tensor = self.shared(nn.functional.avg_pool2d(self.shared(x), 2))
            return small.flatten(1)

    network = Twice()
    replace_small_convolutions(network, (3, 2, 2))
    assert type(network.shared) is nn.Conv2d
