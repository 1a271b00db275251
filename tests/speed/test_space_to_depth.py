"""A strided convolution of a picture over blocks of pixels is the plain one, and stands only where it gains."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from intgrads.speed.operators import choose_convolutions
from intgrads.speed.space_to_depth import SpaceToDepthConvolution, fits
from shared.choices import Preferring
from shared.sameness import assert_same
from torch import nn


@given(
    channels=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=st.integers(2, 5),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    size=st.tuples(st.integers(4, 20), st.integers(4, 20)),
    bias=st.booleans(),
)
def test_it_is_the_plain_one(
    *,
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    size: tuple[int, int],
    bias: bool,
) -> None:
    """Whatever its sizes, and where its last step leaves pixels over."""
    assume(all(k <= s + 2 * p for k, s, p in zip(kernel, size, padding, strict=True)))
    layer = nn.Conv2d(channels, 5, kernel, stride, padding, bias=bias).double().requires_grad_(False)
    plain, ours = (nn.Sequential(one, nn.Flatten()) for one in (layer, SpaceToDepthConvolution(layer)))
    assert_same(plain, ours, torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0)))


GAIN = {
    "3x3 of stride 2": nn.Conv2d(3, 8, 3, stride=2, padding=1),
    "7x7 of stride 2": nn.Conv2d(3, 8, 7, stride=2, padding=3),
    "5x5 of stride 2": nn.Conv2d(3, 8, 5, stride=2, padding=2),
    "11x11 of stride 4": nn.Conv2d(3, 8, 11, stride=4, padding=2),
    "patches": nn.Conv2d(3, 8, 4, stride=4),
    "grey": nn.Conv2d(1, 8, 7, stride=2, padding=3),
}
LOSE = {
    "1x1 of stride 2 would grow": nn.Conv2d(3, 8, 1, stride=2),
    "stride 1": nn.Conv2d(3, 8, 7, padding=3),
    "many channels": nn.Conv2d(8, 8, 7, stride=2, padding=3),
    "two strides": nn.Conv2d(3, 8, 7, stride=(2, 1), padding=3),
    "dilated": nn.Conv2d(3, 8, 7, stride=2, padding=3, dilation=2),
    "depthwise": nn.Conv2d(3, 9, 7, stride=2, padding=3, groups=3),
    "reflected": nn.Conv2d(3, 8, 7, stride=2, padding=3, padding_mode="reflect"),
    "padding in words": nn.Conv2d(3, 8, 7, stride=2, padding="valid"),
}


@pytest.mark.parametrize("name", [*GAIN, *LOSE])
def test_only_what_may_gain_is_replaced(name: str) -> None:
    network = nn.Sequential((GAIN | LOSE)[name])
    choose_convolutions(network, (network[0].in_channels, 16, 16), Preferring("blocks"))  # type: ignore[arg-type]
    assert isinstance(network[0], SpaceToDepthConvolution) == (name in GAIN) == fits((GAIN | LOSE)[name])
