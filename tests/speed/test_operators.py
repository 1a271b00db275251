"""A way of computing a layer that is another map is found, however small the mistake, and the layer stays."""

import copy

import pytest
import torch
from intgrads.speed import operators, products
from intgrads.speed.choices import Choices
from intgrads.speed.convolutions import Convolution
from intgrads.speed.operators import choose_convolutions, choose_products
from intgrads.speed.small_maps import MapProduct, map_product
from shared.choices import Preferring
from torch import Tensor, nn

EVERY = ("product of maps", "product of pixels", "blocks", "packed", "onednn", "turned")


@pytest.mark.parametrize("mistake", [1.01, 1 + 1e-6])
def test_a_structure_that_is_wrong_by_little(
    mistake: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(layer: nn.Conv2d, before: torch.Size, after: torch.Size) -> MapProduct | None:
        made = map_product(layer, before, after)
        assert made is not None
        made.product.weight.data.mul_(mistake)
        return made

    monkeypatch.setattr(operators, "map_product", wrong)
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)).requires_grad_(False)
    choose_convolutions(network, (4, 2, 2), Preferring(*EVERY))
    assert type(network[0]) is Convolution
    assert "as MapProduct differs" in caplog.text


@pytest.mark.skipif(not products.available(), reason="this build of PyTorch has no oneDNN")
def test_a_library_that_is_wrong(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    right = products._onednn

    def wrong(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return right(x, weight, bias) * 1.001

    monkeypatch.setattr(products, "_onednn", wrong)
    network = nn.Sequential(nn.Linear(5, 4)).requires_grad_(False)
    choose_products(network, Preferring("onednn"))
    assert type(network[0]) is nn.Linear
    assert "as Product differs" in caplog.text


def test_a_gradient_that_is_wrong(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("intgrads.speed.convolutions.turn", lambda weight, _: weight.flip(2, 3).contiguous())
    layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    network = nn.Sequential(copy.deepcopy(layer))
    choose_convolutions(network, (4, 9, 9), Preferring(*EVERY))
    assert "as Convolution differs" in caplog.text
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    slopes = [torch.autograd.grad(one(x).sin().sum(), x)[0] for one in (layer, network)]
    torch.testing.assert_close(*slopes)


def test_equal_layers_are_measured_once() -> None:
    network = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)]).requires_grad_(False)
    choices = Choices()
    choose_convolutions(network, (4, 9, 9), choices)
    assert sorted(choices.made) == [
        "convolution 3x3, 4 to 4 channels, 8 rows of 9x9, backward",
        "convolution 3x3, 4 to 4 channels, 8 rows of 9x9, forward",
    ]


def test_what_was_measured_gives_the_same_network_again() -> None:
    """As a second worker loads it, to the bit."""
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 5, padding=2, groups=8)]
    choices = Choices()
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    outputs = []
    head = nn.Linear(128, 5)
    for known in (choices, Choices(choices.made, measure=False)):
        known.made = choices.made
        network = nn.Sequential(*copy.deepcopy(layers), nn.Flatten(), copy.deepcopy(head)).requires_grad_(False)
        choose_convolutions(network, (3, 8, 8), known)
        choose_products(network, known)
        y = network(x)
        outputs.append((y, torch.autograd.grad(y.sum(), x)[0]))
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))
