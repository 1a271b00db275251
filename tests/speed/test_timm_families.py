"""The smallest network of every family of timm: prepared, it is the plain one; at lower precision it answers.

Minutes, so `-m slow`; `test_preparation.py` has a handful of them.
"""

import copy

import pytest
import timm
import torch
from intgrads.speed.precision import PRECISIONS, at_precision
from intgrads.speed.preparation import prepare
from timm.models import model_entrypoint
from torch import Tensor, nn

CPU = torch.device("cpu")
LARGEST = 60_000_000
"""Parameters of a network that is still tried."""


def families() -> list[str]:
    """Return the modules of timm that hold classifiers."""
    return sorted({model_entrypoint(name).__module__ for name in timm.list_models()})


def smallest(family: str) -> str:
    """Return the network of a family with the fewest parameters, of at most some twenty that stand for it."""
    names = [name for name in timm.list_models() if model_entrypoint(name).__module__ == family]

    def parameters(name: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name, num_classes=5).parameters())

    name: str = min(names[:: 1 + len(names) // 20], key=parameters)
    if parameters(name) > LARGEST:
        pytest.skip(f"{name}, the smallest, is too large")
    return name


def gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    output = module(x)
    return output.detach(), torch.autograd.grad(output[:, 0].sum(), x)[0]


@pytest.mark.slow
@pytest.mark.parametrize("family", families())
def test_prepared_it_is_the_plain_network(family: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(smallest(family), num_classes=5).eval().requires_grad_(False)
    shape = tuple(plain.pretrained_cfg["input_size"])
    x = torch.randn(2, *shape)
    prepared = prepare(plain, shape, CPU)
    precise = prepare(copy.deepcopy(plain).double(), shape, CPU)
    assert "served as it came" not in caplog.text
    expected, slope = gradient(plain.double(), x.double())
    for network, points, bound in ((precise, x.double(), 1e-6), (prepared, x, 1e-2)):
        output, found = gradient(network, points)
        assert (output - expected).abs().max() <= bound * expected.abs().max()
        assert (found - slope).norm() <= bound * slope.norm()
    for precision in PRECISIONS:
        output, found = gradient(at_precision(prepared, precision), x)
        assert output.isfinite().all()
        assert found.isfinite().all()
