"""Convolutions as products of pixels or of maps are the plain ones, and stand where they may gain."""

import pytest
import torch
from intgrads.speed.convolutions import Convolution
from intgrads.speed.operators import choose_convolutions
from intgrads.speed.small_maps import MapProduct, PixelProduct
from shared.choices import Preferring
from shared.sameness import assert_same
from torch import nn

PRODUCTS = Preferring("product of maps", "product of pixels", "onednn", "prepared")

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
    "1x1 on 5x5": (nn.Conv2d(4, 6, 1), 5, Convolution),
    "1x1 with padding": (nn.Conv2d(4, 6, 1, padding=1), 5, Convolution),
    "3x3 on 9x9": (nn.Conv2d(4, 6, 3, padding=1), 9, Convolution),
    "grouped": (nn.Conv2d(4, 4, 3, padding=1, groups=2), 2, Convolution),
    "reflected": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), 2, nn.Conv2d),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_on_small_maps(name: str) -> None:
    layer, side, becomes = CONVOLUTIONS[name]
    plain = nn.Sequential(layer, nn.Tanh(), nn.Flatten()).float()
    ours = nn.Sequential(layer, nn.Tanh(), nn.Flatten())
    choose_convolutions(ours, (layer.in_channels, side, side), PRODUCTS)
    assert type(ours[0]) is becomes
    generator = torch.Generator().manual_seed(0)
    assert_same(plain.double(), ours.double(), torch.randn(3, layer.in_channels, side, side, generator=generator))


def test_a_convolution_that_sees_two_sizes_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small: torch.Tensor = self.shared(nn.functional.avg_pool2d(self.shared(x), 2))
            return small.flatten(1)

    network = Twice()
    choose_convolutions(network, (3, 2, 2), PRODUCTS)
    assert type(network.shared) is nn.Conv2d
