"""BiT is the network of Kolesnikov et al.: against a second writing of it, over the names of their PyTorch code."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from intgrads import integrated_gradients, quadrature
from intgrads.archives import archiver
from intgrads.archives.archive import open_archive, write_archive
from intgrads.archives.names import LABELS
from intgrads.errors import CheckpointError
from intgrads.labels import CIFAR10
from intgrads.networks import bit
from intgrads.networks.family import Order
from intgrads.pictures.classifier import ImageClassifier
from intgrads.settings import Settings
from shared.networks import BIT_SMALL, CPU, random_bit
from torch import Tensor
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("small_members")

MEMBERS = {
    "bit": ([3, 4, 23, 3], 3),
    "bit-r50x1": ([3, 4, 6, 3], 1),
    "bit-r50x3": ([3, 4, 6, 3], 3),
    "bit-r101x1": ([3, 4, 23, 3], 1),
    "bit-r101x3": ([3, 4, 23, 3], 3),
    "bit-r152x2": ([3, 8, 36, 3], 2),
    "bit-r152x4": ([3, 8, 36, 3], 4),
}


def reference(weights: dict[str, Tensor], units: list[int], x: Tensor) -> Tensor:
    """Return the logits as Kolesnikov et al. (arXiv 1912.11370) and their code have them; nothing here is timm's."""

    def convolve(x: Tensor, name: str, **options: Any) -> Tensor:
        w = weights[name]
        mean = w.sum((1, 2, 3), keepdim=True) / w[0].numel()
        variance = (w - mean).square().sum((1, 2, 3), keepdim=True) / w[0].numel()
        return functional.conv2d(x, (w - mean) / (variance + 1e-10).sqrt(), **options)

    def activate(x: Tensor, name: str) -> Tensor:
        groups = x.view(len(x), 32, -1)
        mean = groups.mean(2, keepdim=True)
        variance = (groups - mean).square().mean(2, keepdim=True)
        x = ((groups - mean) / (variance + 1e-5).sqrt()).view_as(x)
        return (x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]).clamp(min=0)

    x = convolve(x, "root.conv.weight", stride=2, padding=3)
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=0.0), 3, 2)
    for b, count in enumerate(units, 1):
        for u in range(1, count + 1):
            name, stride = f"body.block{b}.unit{u:02}", 2 if b > 1 and u == 1 else 1
            y = activate(x, f"{name}.gn1")
            projection = f"{name}.downsample.weight"
            shortcut = convolve(y, projection, stride=stride) if projection in weights else x
            y = convolve(y, f"{name}.conv1.weight")
            y = convolve(activate(y, f"{name}.gn2"), f"{name}.conv2.weight", stride=stride, padding=1)
            x = shortcut + convolve(activate(y, f"{name}.gn3"), f"{name}.conv3.weight")
    x = activate(x, "head.gn").mean((2, 3))
    return x @ weights["head.conv.weight"][:, :, 0, 0].T + weights["head.conv.bias"]


def opened(weights: dict[str, Tensor], tmp_path: Path, model: str, suffix: str = ".pth") -> torch.nn.Module:
    """Return the network that a worker has after the checkpoint went through an archive."""
    path = tmp_path / f"checkpoint{suffix}"
    torch.save(weights, path)
    write_archive(Order(model, path, None, Settings()), tmp_path)
    return open_archive(tmp_path, CPU).network.module


@pytest.mark.parametrize(("model", "classes"), [("bit-small", 10), ("bit-r50x1", 10)])
def test_logits_and_step_gradients_are_the_published_networks(model: str, classes: int, tmp_path: Path) -> None:
    """In float32, through an archive: logits to 1e-4, step gradients to 1e-3 of their largest value."""
    weights = random_bit(bit.ARCHITECTURES[model], classes)
    units = bit.ARCHITECTURES[model]["units"]
    served = opened(weights, tmp_path, model)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    baseline = -torch.ones_like(x)
    found = integrated_gradients(served, x, baseline, target=3, n_steps=5)
    precise = {name: tensor.double() for name, tensor in weights.items()}
    alphas = torch.from_numpy(quadrature("gausslegendre", 5).alphas)[:, None, None, None]
    points = (baseline + alphas * (x - baseline).double()).requires_grad_()
    gradients = torch.autograd.grad(reference(precise, units, points)[:, 3].sum(), points)[0]
    expected = reference(precise, units, x.double())[0]
    assert (found.output - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert found.gradients is not None
    assert (found.gradients[0] - gradients).abs().max() <= 1e-3 * gradients.abs().max()


@pytest.mark.parametrize("size", [32, 41])
def test_it_is_exact_in_float64(size: int) -> None:
    weights = {name: tensor.double() for name, tensor in random_bit(BIT_SMALL, 7).items()}
    network = bit.BiT().build(BIT_SMALL | {"num_classes": 7}).double().eval()
    network.load_state_dict({name: weights[bit.pth_name(name)] for name in network.state_dict()})
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = reference(weights, BIT_SMALL["units"], x)
    assert (network(x) - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_another_epsilon_and_another_pad_would_be_seen() -> None:
    """The comparison can fail: timm's own epsilon and a pad of minus infinity are told apart."""
    weights = {name: tensor.double() for name, tensor in random_bit(BIT_SMALL, 10).items()}
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = reference(weights, BIT_SMALL["units"], x)
    for change in ("epsilon", "pad"):
        network: Any = bit.BiT().build(BIT_SMALL | {"num_classes": 10}).double().eval()
        network.load_state_dict({name: weights[bit.pth_name(name)] for name in network.state_dict()})
        if change == "pad":
            network.stem.pad, network.stem.pool = torch.nn.Identity(), torch.nn.MaxPool2d(3, 2, padding=1)
        for layer in network.modules():
            if change == "epsilon" and hasattr(layer, "eps") and layer.eps == 1e-10:
                layer.eps = 1e-8
        assert (network(x) - expected).abs().max() > 1e-9 * expected.abs().max(), change


def test_names_and_shapes_are_those_of_the_checkpoint_people_have() -> None:
    with torch.device("meta"):
        state = bit.BiT().build(bit.ARCHITECTURES["bit"] | {"num_classes": 10}).state_dict()
    shapes = {bit.pth_name(name): tuple(tensor.shape) for name, tensor in state.items()}
    assert len(shapes) == 306
    assert shapes["root.conv.weight"] == (192, 3, 7, 7)
    assert shapes["body.block1.unit01.downsample.weight"] == (768, 192, 1, 1)
    assert shapes["body.block3.unit23.conv2.weight"] == (768, 768, 3, 3)
    assert shapes["body.block4.unit03.gn3.bias"] == (1536,)
    assert shapes["head.gn.weight"] == (6144,)
    assert shapes["head.conv.weight"] == (10, 6144, 1, 1)


@pytest.mark.parametrize("model", MEMBERS)
def test_the_family_by_name(model: str) -> None:
    units, width = MEMBERS[model]
    with torch.device("meta"):
        network: Any = bit.BiT().build(bit.ARCHITECTURES[model] | {"num_classes": 10})
    assert [len(stage.blocks) for stage in network.stages] == units
    assert network.stem.conv.out_channels == 64 * width
    assert network.num_features == 2048 * width


def npz(weights: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return a checkpoint as the authors publish it: their names, kernels as (height, width, in, out)."""
    arrays = {}
    for name, tensor in weights.items():
        array = tensor.numpy()
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        parts = name.split(".")
        kind = {"gn": "group_norm", "conv": "standardized_conv2d"}
        if parts[0] == "root":
            there = "root_block/standardized_conv2d/kernel"
        elif parts[0] == "head":
            last = {"gn": {"weight": "gamma", "bias": "beta"}, "conv": {"weight": "kernel", "bias": "bias"}}
            there = {"gn": "group_norm", "conv": "head/conv2d"}[parts[1]] + "/" + last[parts[1]][parts[2]]
        elif parts[3] == "downsample":
            there = f"{parts[1]}/{parts[2]}/a/proj/standardized_conv2d/kernel"
        else:
            last_part = {"gn": {"weight": "gamma", "bias": "beta"}, "conv": {"weight": "kernel"}}
            what, letter = parts[3][:-1], " abc"[int(parts[3][-1])]
            there = f"{parts[1]}/{parts[2]}/{letter}/{kind[what]}/{last_part[what][parts[4]]}"
        arrays[f"resnet/{there}"] = array
    return arrays


def test_the_authors_npz_and_both_kinds_of_names_make_the_same_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = random_bit(BIT_SMALL, 10)
    torch.save(weights, tmp_path / "plain.pth")
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, tmp_path / "parallel.pth")
    torch.save({"model": weights, "step": 500, "optim": {"state": {}}}, tmp_path / "finetuned.pth")
    np.savez(tmp_path / "authors.npz", allow_pickle=False, **npz(weights))
    contents = []
    for file in ("plain.pth", "parallel.pth", "finetuned.pth", "authors.npz"):
        assert archiver.main(["bit-small", "--weights", str(tmp_path / file)], tmp_path) == 0, capsys.readouterr().err
        with zipfile.ZipFile(tmp_path / "intgrads.mar") as mar:
            contents.append((mar.read("weights.safetensors"), mar.read("intgrads.json"), mar.read(LABELS)))
    assert contents[1:] == contents[:1] * 3
    assert contents[0][2].decode().split('"')[1::2] == list(CIFAR10)


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("bit", {}, ["missing: body.block1.unit02.gn1.weight, ", "root.conv.weight is (32, 3, 7, 7), expected (192, "]),
        ("bit-small", {"head.conv.bias": None}, ["1 missing: head.conv.bias"]),
        ("bit-small", {"head.fc.bias": torch.ones(10)}, ["1 unexpected: head.fc.bias"]),
        ("bit-small", {"head.gn.bias": torch.ones(5)}, ["head.gn.bias is (5,), expected (128,)"]),
        ("bit-small", {"head.gn.bias": torch.full((128,), torch.nan)}, ["not finite: head.gn.bias"]),
        ("bit-small", {"head.conv.bias": torch.ones(12), "head.conv.weight": torch.ones(12, 128, 1, 1)}, ["--labels"]),
        (
            "bit-small",
            {"head.conv.bias": torch.ones(0), "head.conv.weight": torch.ones(0, 128, 1, 1)},
            ["expected (10,"],
        ),
        ("bit-small", None, ["--weights"]),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(
    model: str,
    change: dict[str, Tensor | None] | None,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [model]
    if change is not None:
        weights = random_bit(BIT_SMALL, 10) | change
        path = tmp_path / "w.pth"
        torch.save({name: tensor for name, tensor in weights.items() if tensor is not None}, path)
        arguments += ["--weights", str(path)]
    assert archiver.main(arguments, tmp_path / "store") == 1
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not list((tmp_path / "store").glob("*"))


def test_timms_own_names_are_read_too(tmp_path: Path) -> None:
    weights = random_bit(BIT_SMALL, 10)
    architecture = BIT_SMALL | {"num_classes": 10}
    names = bit.BiT().build(architecture).state_dict()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = opened(weights, tmp_path, "bit-small")(x)
    assert torch.equal(
        opened({name: weights[bit.pth_name(name)] for name in names}, tmp_path, "bit-small")(x), expected
    )


def test_other_labels_are_taken_and_counted(tmp_path: Path) -> None:
    torch.save(random_bit(BIT_SMALL, 3), tmp_path / "w.pth")
    order = Order("bit-small", tmp_path / "w.pth", ["cat", "dog", "horse"], Settings())
    write_archive(order, tmp_path)
    assert list(open_archive(tmp_path, CPU).network.labels) == ["cat", "dog", "horse"]
    with pytest.raises(CheckpointError, match="names 2 and the checkpoint has 3"):
        write_archive(Order("bit-small", tmp_path / "w.pth", ["cat", "dog"], Settings()), tmp_path)


def test_a_picture_is_made_32_x_32_and_scaled_to_minus_one_to_one_unless_settings_say_otherwise(tmp_path: Path) -> None:
    torch.save(random_bit(BIT_SMALL, 10), tmp_path / "w.pth")
    write_archive(Order("bit-small", tmp_path / "w.pth", None, Settings()), tmp_path)
    network = open_archive(tmp_path, CPU).network
    assert isinstance(network, ImageClassifier)
    assert network.shape == (3, 32, 32)
    normalised = network.picture.normalise(np.full((32, 32, 3), 255, np.uint8))
    torch.testing.assert_close(normalised, torch.ones(3, 32, 32))
    settings = Settings.model_validate({"input_size": "48,40", "mean": "0,0,0", "std": "1,1,1"})
    write_archive(Order("bit-small", tmp_path / "w.pth", None, settings), tmp_path)
    assert open_archive(tmp_path, CPU).network.shape == (3, 48, 40)
