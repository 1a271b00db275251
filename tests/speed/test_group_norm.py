"""Group normalisation and ReLU as one layer are the two, and keep half of what they keep."""

import copy

import pytest
import timm
import torch
from intgrads.speed.devices import memory_of_a_row
from intgrads.speed.group_norm import GroupNormReLU, replace_group_norm
from intgrads.speed.preparation import prepare
from shared.choices import Preferring
from timm.layers import GroupNormAct
from torch import Tensor, nn

CPU = torch.device("cpu")


def norm(groups: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layer = GroupNormAct(8, groups).double().requires_grad_(False)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return nn.Sequential(layer, nn.Flatten())


INPUTS = {
    "any": torch.randn(3, 8, 5, 4, generator=torch.Generator().manual_seed(0)),
    "far from zero": torch.randn(3, 8, 5, 4, generator=torch.Generator().manual_seed(0)) + 1e3,
    "one pixel": torch.randn(3, 8, 1, 1, generator=torch.Generator().manual_seed(0)),
    "zeros, as a zero baseline gives": torch.zeros(3, 8, 5, 4),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("name", INPUTS)
def test_it_is_the_two(name: str, groups: int, layout: torch.memory_format) -> None:
    plain = norm(groups)
    ours = copy.deepcopy(plain)
    replace_group_norm(ours)
    assert type(ours[0]) is GroupNormReLU  # type: ignore[index]
    x = INPUTS[name].double().contiguous(memory_format=layout).requires_grad_()
    expected, found = plain(x), ours(x)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(expected.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    one, other = (torch.autograd.grad(output, x, gradient)[0] for output in (expected, found))
    torch.testing.assert_close(other, one)


def test_it_keeps_its_input_alone() -> None:
    plain = norm().float()
    ours = copy.deepcopy(plain)
    replace_group_norm(ours)
    shape = (8, 32, 32)
    row = 8 * 32 * 32 * 4
    assert memory_of_a_row(plain, shape, CPU).saved > 2 * row
    assert row <= memory_of_a_row(ours, shape, CPU).saved < 1.01 * row


def test_bit_keeps_half() -> None:
    """Half of what it keeps with its parameters frozen and nothing else done: what Captum's integral would hold."""
    plain = timm.create_model("resnetv2_50x1_bit", num_classes=5).eval().requires_grad_(False)
    shape = (3, 32, 32)
    prepared = prepare(plain, shape, CPU, Preferring())
    assert memory_of_a_row(prepared, shape, CPU).saved < 0.5 * memory_of_a_row(plain, shape, CPU).saved


def test_others_stay() -> None:
    class Own(GroupNormAct):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return x

    layers = [
        GroupNormAct(8, 4, act_layer=nn.SiLU),
        GroupNormAct(8, 4, apply_act=False),
        GroupNormAct(8, 4, affine=False),
        GroupNormAct(8, 4, drop_layer=nn.Dropout),
        nn.GroupNorm(4, 8),
        Own(8, 4),
    ]
    network = nn.Sequential(*layers)
    replace_group_norm(network)
    assert list(network) == layers
