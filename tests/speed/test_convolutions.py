"""A convolution that keeps nothing of its input is the plain one."""

import copy

import pytest
import timm
import torch
from intgrads.speed.convolutions import Convolution, frozen, replace_convolutions
from intgrads.speed.devices import memory_of_a_row
from intgrads.speed.precision import at_precision
from intgrads.speed.preparation import prepare
from shared.choices import Preferring
from shared.sameness import assert_same
from torch import nn

LAYERS = {
    "3x3": nn.Conv2d(4, 6, 3, padding=1),
    "without bias": nn.Conv2d(4, 6, 3, bias=False),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "of two strides": nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(0, 2)),
    "dilated": nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    "depthwise": nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "1x1": nn.Conv2d(4, 6, 1),
}


@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_plain_one(name: str, side: int) -> None:
    plain = nn.Sequential(LAYERS[name], nn.Tanh(), nn.Flatten()).double()
    ours = copy.deepcopy(plain)
    replace_convolutions(ours)
    assert type(ours[0]) is Convolution
    x = torch.randn(3, 4, side, side, generator=torch.Generator().manual_seed(0))
    assert_same(plain, ours, x)
    assert_same(plain, ours, x.contiguous(memory_format=torch.channels_last))


def test_it_keeps_nothing() -> None:
    plain = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 2, 3)).requires_grad_(False)
    ours = copy.deepcopy(plain)
    replace_convolutions(ours)
    device, shape = torch.device("cpu"), (4, 9, 9)
    row = 4 * 9 * 9 * 4
    assert memory_of_a_row(plain, shape, device).saved == row + 6 * 7 * 7 * 4
    assert memory_of_a_row(ours, shape, device).saved == row, "the row itself is the least that is counted"


@pytest.mark.parametrize("precision", ["float32", "hybrid"])
def test_a_relu_may_change_its_output_in_place(precision: str) -> None:
    """Of a map of one pixel PyTorch gives a view, and a view made within a layer must not be changed."""
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 6, 1), nn.ReLU(inplace=True), nn.Flatten())
    ours = copy.deepcopy(plain).requires_grad_(False)
    replace_convolutions(ours)
    x = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = torch.autograd.grad(plain(x).sum(), x)[0]
    found = torch.autograd.grad(at_precision(ours, precision)(x).sum(), x)[0]  # type: ignore[arg-type]
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto"])
def test_networks_of_timm_keep_less(name: str) -> None:
    plain = timm.create_model(name, num_classes=5).eval().requires_grad_(False)
    device, shape = torch.device("cpu"), (3, 64, 64)
    prepared = prepare(plain, shape, device, Preferring())
    assert memory_of_a_row(prepared, shape, device).saved < 0.7 * memory_of_a_row(plain, shape, device).saved
    assert_same(copy.deepcopy(plain).double(), prepare(plain.double(), shape, device), torch.randn(2, *shape))


def test_others_stay() -> None:
    class Own(nn.Conv2d):
        pass

    layers = [
        Own(3, 3, 1),
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv1d(3, 3, 1),
    ]
    network = nn.Sequential(*layers)
    replace_convolutions(network)
    assert list(network) == layers


@pytest.mark.parametrize("name", LAYERS)
def test_other_ways_of_computing_it_are_the_plain_one(name: str) -> None:
    """OneDNN's convolution asked for by name, and the gradient by a convolution with the turned kernel."""
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    plain, ours = LAYERS[name].float().requires_grad_(False), frozen(LAYERS[name].float())
    choices = Preferring("onednn", "turned")
    ours.choose(choices, x)
    assert ours.by_onednn
    assert (ours.turned is not None) == (ours.stride == (1, 1)) == ("backward" in "".join(choices.made))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        points = x.clone(memory_format=memory_format).requires_grad_()
        expected, found = plain(points), ours(points)
        torch.testing.assert_close(found, expected)
        slopes = [torch.autograd.grad(y, points, torch.cos(y.detach()))[0] for y in (found, expected)]
        torch.testing.assert_close(*slopes)
    if ours.turned is not None:
        ours.turned = ours.turned.double()
    assert_same(nn.Sequential(plain.double(), nn.Flatten()), nn.Sequential(ours.double(), nn.Flatten()), x)


def test_a_kernel_wider_than_its_padding_allows_is_not_turned() -> None:
    """A 1 x 1 kernel with padding crops the gradient, which no convolution does."""
    layer = frozen(nn.Conv2d(4, 6, 1, padding=1))
    layer.choose(Preferring("turned"), torch.randn(2, 4, 5, 5))
    assert layer.turned is None
