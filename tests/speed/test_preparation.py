"""A prepared network is the plain one, for the shape it was prepared for."""

import pytest
import timm
import torch
from intgrads.speed.preparation import prepare
from intgrads.speed.products import Product
from shared.choices import Preferring
from shared.sameness import assert_same, with_statistics
from shared.toys import small_network

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tf_efficientnet_lite0", 64),
        ("resnetv2_50x1_bit", 32),
        ("densenet121", 64),
        ("resnet10t", 64),
        ("seresnext26d_32x4d", 64),
        ("mobilenetv3_small_050", 64),
        ("convnext_atto", 64),
        ("edgenext_xx_small", 64),
        ("xcit_nano_12_p16_224", 224),
        ("swin_tiny_patch4_window7_224", 224),
        ("vit_tiny_patch16_224", 224),
    ],
)
def test_networks_of_timm(name: str, size: int, caplog: pytest.LogCaptureFixture) -> None:
    plain = with_statistics(timm.create_model(name, num_classes=5))
    assert_same(plain, prepare(plain, (3, size, size), CPU), torch.randn(2, 3, size, size))
    assert "served as it came" not in caplog.text


def test_in_float32_too() -> None:
    """OneDNN's products are float32's; the plain network in float64 is the truth."""
    plain = with_statistics(timm.create_model("resnetv2_50x1_bit", num_classes=5)).float()
    wanted = Preferring("product of maps", "product of pixels", "packed", "turned", "onednn", "blocks")
    prepared = prepare(plain, (3, 32, 32), CPU, wanted)
    assert sum(isinstance(layer, Product) for layer in prepared.modules()) > 20
    x = torch.randn(2, 3, 32, 32)
    expected = plain.double()(x.double())
    assert (prepared(x) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_the_plain_network_is_left_alone() -> None:
    plain = small_network().eval()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    prepared = prepare(plain, (3, 8, 10), CPU)
    assert not any(p.requires_grad for p in prepared.parameters())
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    assert not [layer for layer in plain.modules() if isinstance(layer, Product)]


def test_a_network_that_is_slower_prepared_is_served_as_it_came() -> None:
    plain = small_network().eval()
    choices = Preferring("plain")
    served = prepare(plain, (3, 8, 10), CPU, choices)
    assert type(served) is type(plain)
    assert choices.made["the whole network"] == "plain"
    assert not any(p.requires_grad for p in served.parameters())
