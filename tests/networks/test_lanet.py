"""LaNet is the published network: against a second writing of the genotype, as functions over a checkpoint's names."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.archives import archiver
from intgrads.archives.archive import open_archive, write_archive
from intgrads.errors import CheckpointError
from intgrads.labels import CIFAR10
from intgrads.networks import lanet
from intgrads.networks.family import Order
from intgrads.pictures.classifier import ImageClassifier
from intgrads.settings import Settings
from shared.networks import CPU, LANET_SMALL, random_lanet
from torch import Tensor
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("small_members")


class Reference:
    """LaNet spelt out, cell by cell, without its modules."""

    def __init__(self, weights: Mapping[str, Tensor], cells: int) -> None:
        self.weights, self.count = weights, cells

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            self.weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def pointwise(self, x: Tensor, name: str) -> Tensor:
        w = self.weights[f"{name}.weight"][:, :, 0, 0]
        mean = w.mean(1, keepdim=True)
        deviation = ((w - mean).square().sum(1, keepdim=True) / (w.shape[1] - 1)).sqrt()
        return torch.einsum("oi,bihw->bohw", (w - mean) / (deviation + 1e-5), x)

    def prepare(self, x: Tensor, name: str) -> Tensor:
        return self.norm(self.pointwise(x.clamp(min=0), f"{name}.op.1"), f"{name}.op.2")

    def halve(self, x: Tensor, name: str) -> Tensor:
        x = x.clamp(min=0)
        even = torch.einsum("oi,bihw->bohw", self.weights[f"{name}.conv_1.weight"][:, :, 0, 0], x[:, :, ::2, ::2])
        odd = torch.einsum("oi,bihw->bohw", self.weights[f"{name}.conv_2.weight"][:, :, 0, 0], x[:, :, 1::2, 1::2])
        return self.norm(torch.cat([even, odd], 1), f"{name}.bn")

    def separable(self, x: Tensor, name: str, stride: int) -> Tensor:
        for first, step in ((1, stride), (5, 1)):
            w = self.weights[f"{name}.op.{first}.weight"]
            x = functional.conv2d(x.clamp(min=0), w, None, step, w.shape[-1] // 2, groups=len(w))
            x = self.norm(self.pointwise(x, f"{name}.op.{first + 1}"), f"{name}.op.{first + 2}")
        return x

    def cell(self, x: Tensor, y: Tensor, i: int, reductions: tuple[int, int]) -> Tensor:
        name, ops = f"cells.{i}", f"cells.{i}._ops"
        s0 = (self.halve if i - 1 in reductions else self.prepare)(x, f"{name}.preprocess0")
        s1 = self.prepare(y, f"{name}.preprocess1")
        stride = 2 if i in reductions else 1

        def skip(state: Tensor, k: int) -> Tensor:
            return self.halve(state, f"{ops}.{k}") if stride == 2 else state

        def pool(state: Tensor, step: int) -> Tensor:
            return functional.max_pool2d(functional.pad(state, (1, 1, 1, 1), value=-torch.inf), 3, step)

        s2 = skip(s0, 0) + skip(s1, 1)
        s3 = self.separable(s1, f"{ops}.2", stride) + skip(s1, 3)
        s4 = pool(s2, 1) + skip(s1, 5)
        s5 = self.separable(s1, f"{ops}.6", stride) + skip(s0, 7)
        s6 = s3 + self.separable(s4, f"{ops}.9", 1)
        s7 = s3 + pool(s0, stride)
        s8 = s3 + self.separable(s1, f"{ops}.13", stride)
        return torch.cat([s5, s6, s7, s8], 1)

    def __call__(self, x: Tensor) -> Tensor:
        x = y = self.norm(functional.conv2d(x, self.weights["stem.0.weight"], None, 1, 1), "stem.1")
        reductions = (self.count // 3, 2 * self.count // 3)
        for i in range(self.count):
            x, y = y, self.cell(x, y, i, reductions)
        return y.mean((2, 3)) @ self.weights["classifier.weight"].T + self.weights["classifier.bias"]


def gradient(logits: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(logits[:, 1].sum(), x)[0]


@pytest.mark.parametrize("cells", [3, 4, 6])
def test_logits_and_input_gradients_are_the_published_networks(cells: int) -> None:
    network = lanet.LaNetwork(cells, 8, 3, 10).double().eval()
    state = random_lanet(LANET_SMALL, 10) if cells == LANET_SMALL["cells"] else None
    weights = state or {k: v + 0.1 * torch.rand(v.shape) for k, v in network.state_dict().items()}
    weights = {k: v.double() for k, v in weights.items() if not k.startswith("auxiliary_head.")}
    network.load_state_dict(weights)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)).double().requires_grad_()
    expected, found = Reference(weights, cells)(x), network(x)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
    one, other = gradient(expected, x), gradient(found, x)
    assert (one - other).abs().max() <= 1e-10 * one.abs().max()


def test_what_a_worker_serves_is_it_within_float32(tmp_path: Path) -> None:
    weights = random_lanet(LANET_SMALL, 10)
    torch.save({"model_state_dict": weights}, tmp_path / "w.pth")
    write_archive(Order("lanet-small", tmp_path / "w.pth", None, Settings()), tmp_path)
    served = open_archive(tmp_path, CPU).network.module
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    precise = x.double().requires_grad_()
    expected = Reference({name: tensor.double() for name, tensor in weights.items()}, LANET_SMALL["cells"])(precise)
    x.requires_grad_()
    found = served(x)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    one, other = gradient(expected, precise).flatten(1), gradient(found, x).flatten(1).double()
    assert (functional.cosine_similarity(one, other) > 0.98).all()


def test_names_and_shapes_are_those_of_the_checkpoint_people_have() -> None:
    with torch.device("meta"):
        network = lanet.LaNet().build(lanet.ARCHITECTURES["lanet"] | {"num_classes": 10})
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(shapes) == 1712
    assert sum(parameter.numel() for parameter in network.parameters()) == 44_591_498
    assert shapes["stem.0.weight"] == (384, 3, 3, 3)
    assert shapes["cells.8._ops.7.conv_2.weight"] == (128, 256, 1, 1)
    assert shapes["cells.9.preprocess0.conv_1.weight"] == (128, 512, 1, 1)
    assert shapes["cells.16.preprocess1.op.1.weight"] == (512, 1024, 1, 1)
    assert shapes["cells.23._ops.9.op.5.weight"] == (512, 1, 5, 5)
    assert shapes["classifier.weight"] == (10, 2048)
    kept = {name for name in shapes if not name.startswith("cells.")}
    assert kept == {f"stem.1.{part}" for part in ("weight", "bias", "running_mean", "running_var",
                                                  "num_batches_tracked")} | {
        "stem.0.weight", "classifier.weight", "classifier.bias"}  # fmt: skip


def training_state(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return what a training script leaves beside the weights."""
    return {
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 599,
        "args": argparse.Namespace(layers=24, init_ch=128, arch="lanet"),
        "best_acc": np.float64(99.03),
    }


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_file_that_training_leaves_is_read(prefix: str, auxiliary: bool, tmp_path: Path) -> None:
    weights = random_lanet(LANET_SMALL, 10)
    content = training_state(
        {prefix + k: v for k, v in weights.items() if auxiliary or not k.startswith("auxiliary_head.")}
    )
    torch.save(content, tmp_path / "lanet_model.pth")
    write_archive(Order("lanet-small", tmp_path / "lanet_model.pth", None, Settings()), tmp_path)
    network = open_archive(tmp_path, CPU).network
    assert isinstance(network, ImageClassifier)
    assert list(network.labels) == list(CIFAR10)
    assert network.shape == (3, 32, 32)
    black = network.picture.normalise(np.zeros((32, 32, 3), np.uint8))[:, 0, 0]
    torch.testing.assert_close(black, -torch.tensor([0.49139968 / 0.24703233, 0.48215827 / 0.24348505,
                                                     0.44653124 / 0.26158768]))  # fmt: skip
    plain = lanet.LaNet().build(LANET_SMALL | {"num_classes": 10}).eval()
    plain.load_state_dict({k: v for k, v in weights.items() if not k.startswith("auxiliary_head.")})
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(network.module(x), plain(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("lanet", {}, ["missing: cells.", "stem.0.weight is (24, 3, 3, 3), expected (384, 3, 3, 3)"]),
        ("lanet-small", {"classifier.bias": None}, ["1 missing: classifier.bias"]),
        ("lanet-small", {"cells.0._ops.0.op.1.weight": torch.ones(8)}, ["1 unexpected: cells.0._ops.0.op.1.weight"]),
        ("lanet-small", {"stem.1.running_var": torch.full((24,), torch.inf)}, ["not finite: stem.1.running_var"]),
        ("lanet-small", {"classifier.bias": torch.ones(4)}, ["classifier.weight is (10, 128), expected (4, 128)"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_and_nothing_is_written(
    model: str, change: dict[str, Tensor | None], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = random_lanet(LANET_SMALL, 10) | change
    path = tmp_path / "w.pth"
    torch.save(training_state({k: v for k, v in weights.items() if v is not None}), path)
    assert archiver.main([model, "--weights", str(path)], tmp_path / "store") == 1
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not list((tmp_path / "store").glob("*"))


def test_other_classes_need_labels(tmp_path: Path) -> None:
    torch.save(random_lanet(LANET_SMALL, 3), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"3 classes.*--labels"):
        write_archive(Order("lanet-small", tmp_path / "w.pth", None, Settings()), tmp_path)
    write_archive(Order("lanet-small", tmp_path / "w.pth", ["cat", "dog", "horse"], Settings()), tmp_path)
    assert len(open_archive(tmp_path, CPU).network.labels) == 3
