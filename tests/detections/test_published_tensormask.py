"""The published R50-FPN model: its names, configuration and registry, and its detections through an archive of ours."""

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2")

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from intgrads.archives.archive import write_archive
from intgrads.detections.detectron import (
    NAME,
    OWN_NAME,
    PUBLISHED,
    IntgradsTensorMask,
    add_tensormask_config,
    build_tensormask,
    fold_normalisation,
    read_config,
)
from intgrads.errors import CheckpointError
from intgrads.labels import COCO
from intgrads.networks.family import Order
from intgrads.pictures.run_lengths import decode_mask
from intgrads.service import Service
from intgrads.settings import Settings
from shared.detections import overlap, published_detections, spread_out
from shared.places import HANDLER
from shared.toys import call, encoded, pixels, told
from torch import Tensor, nn
from torchvision.ops import box_iou

HEIGHT, WIDTH = 100, 140
TOWERS = {"cls": 256, "bbox": 128, "mask": 128}


def published_names() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the published checkpoints, written out from the architecture."""
    names: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, after: int, before: int, kernel: int) -> None:
        names[f"{name}.weight"] = (after, before, kernel, kernel)

    def frozen(name: str, channels: int) -> None:
        names.update(dict.fromkeys((f"{name}.norm.{part}" for part in NORM), (channels,)))

    norm = "backbone.bottom_up"
    convolution(f"{norm}.stem.conv1", 64, 3, 7)
    frozen(f"{norm}.stem.conv1", 64)
    before = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for block in range(blocks):
            place = f"{norm}.res{stage}.{block}"
            layers = [("conv1", width, before, 1), ("conv2", width, width, 3), ("conv3", 4 * width, width, 1)]
            for layer, after, into, kernel in ([("shortcut", 4 * width, before, 1)] if block == 0 else []) + layers:
                convolution(f"{place}.{layer}", after, into, kernel)
                frozen(f"{place}.{layer}", after)
            before = 4 * width
        names |= {f"backbone.fpn_{kind}{stage}.bias": (256,) for kind in ("lateral", "output")}
        convolution(f"backbone.fpn_lateral{stage}", 256, before, 1)
        convolution(f"backbone.fpn_output{stage}", 256, 256, 3)
    for level, into in (("p6", 2048), ("p7", 256)):
        convolution(f"backbone.top_block.{level}", 256, into, 3)
        names[f"backbone.top_block.{level}.bias"] = (256,)
    layers = [("mask_fuse.0", 128, 128, 3), ("cls_score", 160, 256, 3), ("bbox_pred", 8, 128, 3)]
    layers += [("mask_pred_11", 121, 128, 1), ("mask_pred_15", 225, 128, 1)]
    for tower, width in TOWERS.items():
        layers += [(f"{tower}_subnet.{2 * i}", width, width if i else 256, 3) for i in range(4)]
    for layer, after, into, kernel in layers:
        convolution(f"head.{layer}", after, into, kernel)
        names[f"head.{layer}.bias"] = (after,)
    return names


NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(scope="module")
def network() -> IntgradsTensorMask:
    """Return the published architecture with random weights that find something."""
    torch.manual_seed(0)
    network = build_tensormask(read_config()).eval()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        for name, parameter in network.named_parameters():
            if "norm" not in name and name.startswith("backbone.bottom_up"):
                # With each branch a fraction of what it is added to, activations neither vanish nor explode.
                parameter.mul_(0.4 if "conv3" in name else 1.0)
            elif "subnet" in name or "mask_fuse" in name:
                nn.init.normal_(parameter, std=0.04)
    x = normalised(network, pixels(HEIGHT, WIDTH))
    network.requires_grad_(False)
    spread_out(network, x.flip(0)[None])
    return network


def normalised(network: IntgradsTensorMask, picture: np.ndarray[Any, Any]) -> Tensor:
    """Return a picture as the published project prepares it: blue first, (3, H, W)."""
    bgr = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))).float()
    return (bgr - network.get_buffer("pixel_mean")) / network.get_buffer("pixel_std")


@pytest.fixture(scope="module")
def checkpoint(network: IntgradsTensorMask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file as the model zoo's: a pickle of named arrays, and more."""
    path = tmp_path_factory.mktemp("zoo") / "model_final.pkl"
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    arrays |= {f"anchor_generator.cell_anchors.{level}": np.zeros((2, 4), np.float32) for level in range(6)}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "trainer"}))
    return path


def test_the_names_are_the_published_ones(network: IntgradsTensorMask) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(found) == 319
    assert found == published_names()


def test_the_detections_through_an_archive_are_the_published_models(
    network: IntgradsTensorMask, checkpoint: Path, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"min_size_test": HEIGHT, "max_size_test": WIDTH, "threads": 1})
    write_archive(Order("tensormask", None, None, settings, tensormask=checkpoint), tmp_path)
    service = Service.load(tmp_path, torch.device("cpu"))
    picture = pixels(HEIGHT, WIDTH)
    (reply,) = service.answer([call(data=encoded(picture), format="json", score_threshold="0.05")])
    answer = told(reply)
    reference = published_detections(network, normalised(network, picture), (HEIGHT, WIDTH))
    assert len(reference["scores"]) == len(answer["scores"]) >= 50
    assert answer["pred_classes"] == reference["pred_classes"].tolist()
    np.testing.assert_allclose(answer["scores"], reference["scores"], atol=1e-3)
    assert box_iou(torch.tensor(answer["pred_boxes"]), reference["pred_boxes"]).diag().min() > 0.95
    masks = [decode_mask(one["mask"], "mask", (HEIGHT, WIDTH)) for one in answer["instances"]]
    assert overlap(torch.from_numpy(np.stack(masks)), reference["pred_masks"]).min() > 0.98
    assert {one["label"] for one in answer["instances"]} <= set(COCO)
    # Boxes and masks that differ, not a hundred times the same.
    assert len({tuple(box) for box in answer["pred_boxes"]}) > 30
    assert len(set(reference["pred_masks"].flatten(1).sum(1).tolist())) > 20


def test_users_of_detectron2_build_it_by_its_published_name(network: IntgradsTensorMask, checkpoint: Path) -> None:
    cfg = get_cfg()
    add_tensormask_config(cfg)
    cfg.merge_from_file(str(PUBLISHED))
    model = build_model(cfg)
    assert isinstance(model, IntgradsTensorMask)
    assert model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    DetectionCheckpointer(model).load(str(checkpoint))
    for name, weight in network.state_dict().items():
        assert torch.equal(model.state_dict()[name].cpu(), weight), name


def test_detectron2s_protocol(network: IntgradsTensorMask) -> None:
    picture = pixels(HEIGHT, WIDTH)
    image = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)))
    (output,) = network([{"image": image, "height": 50, "width": 70}])
    instances = output["instances"]
    reference = published_detections(network, normalised(network, picture), (50, 70))
    assert instances.image_size == (50, 70)
    assert instances.pred_masks.shape == (len(instances), 50, 70)
    assert instances.pred_classes.tolist() == reference["pred_classes"].tolist()
    torch.testing.assert_close(instances.pred_boxes.tensor, reference["pred_boxes"], rtol=1e-3, atol=1e-2)
    network.train()
    try:
        with pytest.raises(NotImplementedError, match=r"\.eval\(\)"):
            network([{"image": image}])
    finally:
        network.eval()


def test_folding_leaves_the_function_as_it_was(network: IntgradsTensorMask) -> None:
    folded = build_tensormask(read_config()).eval()
    folded.load_state_dict(network.state_dict())
    fold_normalisation(folded.requires_grad_(False))
    assert not any("norm" in name for name, _ in folded.named_buffers())
    x = normalised(network, pixels(64, 96)).flip(0)[None]
    for before, after in zip(network.features(x), folded.features(x), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))


def test_an_installed_upstream_keeps_its_name(tmp_path: Path) -> None:
    """Whichever of the two is imported first, neither fails, and ours is there under its own name."""
    package = tmp_path / "tensormask"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        "@META_ARCH_REGISTRY.register()\nclass TensorMask:\n    upstream = True\n"
    )
    imports = ["import tensormask", "import intgrads.detections.detectron as ours"]
    check = (
        f"from detectron2.modeling import META_ARCH_REGISTRY as r; assert r.get({NAME!r}).upstream; "
        f"assert r.get({OWN_NAME!r}) is ours.IntgradsTensorMask"
    )
    handler = str(HANDLER)
    for order in (imports, imports[::-1]):
        program = "; ".join([f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {handler!r}]", *order, check])
        subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    assert importlib.util.find_spec("tensormask") is None
    assert issubclass(META_ARCH_REGISTRY.get(NAME), IntgradsTensorMask)


def test_a_wrong_file_is_named_by_its_missing_keys(tmp_path: Path) -> None:
    (tmp_path / "wrong.pkl").write_bytes(pickle.dumps({"model": {"conv.weight": np.zeros(3)}}))
    with pytest.raises(CheckpointError, match=r"319 missing: backbone.*\n.*1 unexpected: conv.weight"):
        write_archive(Order("tensormask", None, None, Settings(), tensormask=tmp_path / "wrong.pkl"), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


class Hostile:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


def test_a_pickle_that_is_a_program_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps({"model": Hostile()}))
    with pytest.raises(CheckpointError, match=r"builtins\.print"):
        write_archive(Order("tensormask", None, None, Settings(), tensormask=tmp_path / "hostile.pkl"), tmp_path)
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {NO_SUCH_KEY: 1}", "NO_SUCH_KEY"),
        ("MODEL: {META_ARCHITECTURE: GeneralizedRCNN}", "of a GeneralizedRCNN"),
        ("MODEL: {META_ARCHITECTURE: [", "not a configuration"),
        ("MODEL: !!python/object/apply:os.system ['exit']", "not a configuration"),
    ],
)
def test_a_wrong_configuration_is_refused_and_never_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / "wrong.yaml")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ASPECT_RATIOS", [[0.5, 1.0]], "squares"),
        ("SIZES", [[44], [88, 120]], "a list for each"),
        ("OFFSET", 0.5, "OFFSET 0.0"),
    ],
)
def test_windows_that_cannot_be_are_refused(key: str, value: object, message: str) -> None:
    config = read_config()
    config["MODEL"]["ANCHOR_GENERATOR"][key] = value
    with pytest.raises(ValueError, match=message):
        build_tensormask(config)
