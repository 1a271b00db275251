"""TensorFlow's padding, made constant for one size, gives what timm's layer gives."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from intgrads.speed.convolutions import Convolution
from intgrads.speed.operators import choose_convolutions
from intgrads.speed.same_padding import with_constant_padding
from intgrads.speed.space_to_depth import SpaceToDepthConvolution
from shared.choices import Preferring
from shared.sameness import assert_same
from timm.layers import Conv2dSame
from torch import nn


@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_it_is_the_plain_one(
    *, kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int], groups: int, bias: bool
) -> None:
    layer = Conv2dSame(4, 8, kernel, stride=stride, groups=groups, bias=bias).double().requires_grad_(False)
    made = with_constant_padding(layer, size)
    assert made is not None
    plain, ours = (nn.Sequential(one, nn.Flatten()) for one in (layer, made))
    assert_same(plain, ours, torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("size", [(8, 8), (9, 9)])
def test_dilated_kernels(size: tuple[int, int]) -> None:
    """An uneven rest would stand between a dilated kernel's rows."""
    layer = Conv2dSame(4, 4, 3, stride=2, dilation=2).double().requires_grad_(False)
    made = with_constant_padding(layer, size)
    uneven = (size[0] - 1) // 2 * 2 + 5 - size[0]
    assert (made is None) == bool(uneven % 2)
    if made is not None:
        x = torch.randn(2, 4, *size)
        assert_same(nn.Sequential(layer, nn.Flatten()), nn.Sequential(made, nn.Flatten()), x)


@pytest.mark.parametrize(("prefer", "becomes"), [("convolution", Convolution), ("blocks", SpaceToDepthConvolution)])
def test_it_stands_in_a_network(prefer: str, becomes: type[nn.Module]) -> None:
    network = nn.Sequential(Conv2dSame(3, 8, 3, stride=2), nn.Tanh(), nn.Flatten()).requires_grad_(False)
    ours = copy.deepcopy(network)
    choose_convolutions(ours, (3, 10, 10), Preferring(prefer))
    assert type(ours[0]) is becomes
    assert_same(network.double(), ours.double(), torch.randn(2, 3, 10, 10))


def test_the_layer_stays_where_it_is_faster() -> None:
    network = nn.Sequential(Conv2dSame(3, 8, 3, stride=2)).requires_grad_(False)
    choose_convolutions(network, (3, 10, 10), Preferring("plain"))
    assert type(network[0]) is Conv2dSame
