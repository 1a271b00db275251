"""A layer computed by another way of taking products is the plain layer: outputs and input gradients agree."""

import pytest
import torch
from intgrads.speed import products
from intgrads.speed.operators import choose_convolutions, choose_products
from intgrads.speed.products import Product
from intgrads.speed.small_maps import PixelProduct
from shared.choices import Preferring
from torch import nn

needs_onednn = pytest.mark.skipif(not products.available(), reason="this build of PyTorch has no oneDNN")


def gradient(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad((layer(x) ** 2).sum(), x)[0]


@needs_onednn
@pytest.mark.parametrize("way", ["onednn", "packed"])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (1, 7), (300, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_gives_what_the_plain_layer_gives(shape: tuple[int, ...], bias: bool, way: str) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(7, 4, bias=bias)
    ours, x = Product(plain.weight, plain.bias), torch.randn(shape)
    ours.choose(Preferring(way))
    assert not ours.is_plain
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(gradient(ours, x), gradient(plain, x))
    strided = torch.randn(*shape[:-1], 14)[..., ::2]
    torch.testing.assert_close(gradient(ours, strided), gradient(plain, strided))


def test_a_relu_may_change_the_result_in_place() -> None:
    """As in squeeze-and-excitation: a 1 x 1 convolution on one pixel, then a ReLU in place."""
    layer = nn.Conv2d(4, 6, 1)
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), layer, nn.ReLU(inplace=True), nn.Flatten())
    ours = nn.Sequential(nn.AdaptiveAvgPool2d(1), layer, nn.ReLU(inplace=True), nn.Flatten())
    choose_convolutions(ours, (4, 5, 5), Preferring("product of pixels", "onednn"))
    assert type(ours[1]) is PixelProduct
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(gradient(ours, x), gradient(plain, x))


def test_without_onednn_it_is_the_plain_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "available", lambda: False)
    plain, x = nn.Linear(7, 4), torch.randn(5, 7)
    ours = Product(plain.weight, plain.bias)
    ours.choose(Preferring("onednn"))
    assert ours.is_plain
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(gradient(ours, x), gradient(plain, x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_the_plain_way(dtype: torch.dtype) -> None:
    plain, x = nn.Linear(7, 4).to(dtype), torch.randn(5, 7, dtype=dtype)
    ours = Product(plain.weight, plain.bias)
    ours.choose(Preferring("onednn"))
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(gradient(ours, x), gradient(plain, x))


def test_only_plain_linear_layers_are_replaced() -> None:
    class Own(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2)), Own(3, 3))
    weight = network[0].weight
    choose_products(network, Preferring("onednn"))
    assert [type(layer) for layer in (network[0], network[1][0], network[2])] == [Product, Product, Own]  # type: ignore[index]
    assert torch.equal(network[0].weight, weight)  # type: ignore[arg-type]
    again = nn.Sequential(nn.Linear(3, 3))
    choose_products(again, Preferring("plain"))
    assert type(again[0]) is nn.Linear, "what is no faster stays"
