"""A picture is prepared as timm prepares it to evaluate the network, to the pixel, unless a setting says otherwise."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from intgrads.archives.archive import open_archive, write_archive
from intgrads.errors import CheckpointError
from intgrads.networks.cifar10 import picture_of
from intgrads.networks.demo_image import ARCHITECTURE
from intgrads.networks.family import Order, adjusted
from intgrads.networks.timm_classifiers import stated_transform
from intgrads.pictures import transform
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.pictures.transform import Interpolation, PictureSpec
from intgrads.service import Service
from intgrads.settings import Resizing, Settings
from PIL import Image
from shared.archives import TINY
from shared.photos import Pixels, photos, seen_by_timm
from shared.toys import call, encoded, pixels, told
from timm.data import create_transform, resolve_data_config
from torch import nn

CROP_MODES: dict[Resizing, str] = {"crop": "center", "squash": "squash", "pad": "border"}


@cache
def demo(folder: Path) -> tuple[Service[Any], nn.Module]:
    """Return the demo as it is served, and the plain network with its weights."""
    from safetensors.torch import load_file

    write_archive(Order("demo-image", None, None, Settings()), folder)
    plain = timm.create_model(ARCHITECTURE, pretrained=False).eval()
    plain.load_state_dict(load_file(folder / "weights.safetensors"))
    return Service.load(folder, torch.device("cpu")), plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def asked(service: Service[Any], picture: Pixels, **options: Any) -> dict[str, Any]:
    options = {"n_steps": "1", "fields": "output"} | options
    (reply,) = service.answer([call(data=bytearray(encoded(picture)), format="json", **options)])
    assert reply.status == 200, reply.body
    return told(reply)


@pytest.mark.parametrize("name", photos())
def test_the_demo_says_what_timm_says(name: str, folder: Path) -> None:
    service, plain = demo(folder)
    picture = photos()[name]
    transform = create_transform(**resolve_data_config({}, model=plain), is_training=False)
    with torch.no_grad():
        expected = plain(seen_by_timm(transform, picture)).softmax(1)
    got = torch.tensor(asked(service, picture)["output"]).softmax(1)
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "label", "probability"),
    [("chelsea", "tiger cat", 0.39), ("coffee", "espresso", 0.95), ("astronaut", "football helmet", 0.16)],
)
def test_the_demos_classes(name: str, label: str, probability: float, folder: Path) -> None:
    prediction = asked(demo(folder)[0], photos()[name])["prediction"]
    assert prediction["label"] == label
    assert prediction["probability"] == pytest.approx(probability, abs=0.005)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "squash": {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "bilinear", "input_size": (3, 64, 64)},
    "border": {"crop_mode": "border", "crop_pct": 1.0, "mean": (0.1, 0.5, 0.9), "input_size": (3, 64, 64)},
    "cropped border": {"crop_mode": "border", "crop_pct": 0.8, "input_size": (3, 64, 64)},
    "not square": {"crop_mode": "center", "crop_pct": 0.875, "input_size": (3, 48, 80)},
    "not square, squash": {"crop_mode": "squash", "crop_pct": 1.0, "input_size": (3, 80, 48)},
    "not square, border": {"crop_mode": "border", "crop_pct": 0.95, "input_size": (3, 48, 80)},
    "more than all": {"crop_mode": "center", "crop_pct": 1.15, "interpolation": "lanczos", "input_size": (3, 64, 64)},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_networks_that_state_other_preparations_get_them(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, stated = timm.create_model, CONFIGURATIONS[name]
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, pretrained_cfg_overlay=stated))
    write_archive(Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings()), tmp_path)
    service = Service.load(tmp_path, torch.device("cpu"))
    plain = timm.create_model(TINY, num_classes=3).eval()
    plain.load_state_dict(torch.load(tiny / "w.pth", weights_only=True)["state_dict"])
    config = resolve_data_config({}, model=plain)
    assert config["crop_mode"] == stated["crop_mode"], "the test states what timm reads"
    transform = create_transform(**config, is_training=False)
    for picture in (photos()["chelsea"], photos()["portrait"], photos()["tiny"]):
        with torch.no_grad():
            expected = plain(seen_by_timm(transform, picture))
        torch.testing.assert_close(torch.tensor(asked(service, picture)["output"]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["tf_efficientnet_lite0", "resnet18", "dm_nfnet_f0", "volo_d4_448", "mixer_b16_224"],
)
def test_timms_own_names_are_prepared_as_timm_does(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    transform = create_transform(**resolve_data_config({}, model=network), is_training=False)
    spec = stated_transform(network)
    for picture in (photos()["rocket"], photos()["portrait"], photos()["tiny"]):
        ours = spec.normalise(spec.resize(Picture(picture)))
        torch.testing.assert_close(ours, seen_by_timm(transform, picture)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("resizing", CROP_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_every_pixel_is_timms(resizing: Resizing, interpolation: Interpolation) -> None:
    """Odd sizes up and down, so that halves are rounded either way; the picture of one pixel among them."""
    random = np.random.default_rng(0)
    for height, width in [(1, 1), (33, 50), (50, 33), (64, 64), (63, 65), (7, 100), (301, 20), (256, 256), (129, 90)]:
        for size in [(64, 64), (65, 33), (32, 81)]:
            crop_pct = float(random.choice([0.5, 0.875, 0.95, 1.0, 1.15]))
            spec = PictureSpec(*size, (0.485, 0.456, 0.406), (0.2, 0.2, 0.2), interpolation, resizing, crop_pct)
            transform = create_transform(
                (3, *size),
                interpolation=interpolation,
                crop_mode=CROP_MODES[resizing],
                crop_pct=crop_pct,
                mean=spec.mean,
                normalize=False,
            )
            picture = pixels(height, width, seed=height)
            expected = transform(Image.fromarray(picture)).permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(spec.resize(Picture(picture)), expected)


@pytest.mark.parametrize("resizing", CROP_MODES)
def test_a_picture_too_large_once_resized_is_cropped_first(resizing: Resizing, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(photos()["chelsea"])
    spec = PictureSpec(64, 48, resizing=resizing, crop_pct=0.875)
    expected = spec.resize(picture).astype(int)
    monkeypatch.setattr(transform, "LARGEST_RESIZED", 0)
    made, resize = [], Image.Image.resize

    def noting(image: Image.Image, size: tuple[int, int], *rest: Any, **options: Any) -> Image.Image:
        made.append(size)
        return resize(image, size, *rest, **options)

    monkeypatch.setattr(Image.Image, "resize", noting)
    assert np.abs(spec.resize(picture) - expected).max() <= 2
    assert made
    assert all(width <= 48 and height <= 64 for width, height in made), "nothing beyond the network's size is made"


@pytest.mark.parametrize("resizing", CROP_MODES)
@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (1, 5_000_000), (2, 224)])
def test_pictures_of_any_shape_are_prepared(resizing: Resizing, size: tuple[int, int]) -> None:
    spec = PictureSpec(224, 224, resizing=resizing, crop_pct=0.875)
    picture = Picture(np.full((*size, 3), 77, np.uint8))
    got = spec.resize(picture)
    assert got.shape == (224, 224, 3)
    rows, columns = spec.view(size).inside
    assert (got[rows, columns] == 77).all()
    assert got[rows, columns].size


def test_the_middle_of_a_very_long_picture_is_the_middle() -> None:
    """Pillow's float32 is too coarse for places 2.5 million pixels out; the crop must not be."""
    picture = np.zeros((1, 5_000_001, 3), np.uint8)
    picture[:, 2_500_000] = 200
    got = PictureSpec(224, 224, resizing="crop", interpolation="bilinear").resize(Picture(picture))
    assert (got[:, 100:124] > 150).all()
    np.testing.assert_allclose(got.astype(int), got[:, ::-1], atol=1)


def test_settings_say_otherwise() -> None:
    stated = PictureSpec(224, 224, interpolation="bicubic", resizing="crop", crop_pct=0.875)
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"input_size": "64,48"}, {"height": 64, "width": 48}),
        ({"resize": "squash"}, {"resizing": "squash", "crop_pct": 1.0}),
        ({"resize": "pad"}, {"resizing": "pad", "crop_pct": 1.0}),
        ({"resize": "crop"}, {}),
        ({"crop_pct": "1"}, {"crop_pct": 1.0}),
        ({"resize": "pad", "crop_pct": "0.9"}, {"resizing": "pad", "crop_pct": 0.9}),
    ]
    for settings, change in cases:
        assert asdict(adjusted(stated, Settings.model_validate(settings))) == asdict(stated) | change, settings


def test_the_first_servers_networks_see_the_whole_picture_unless_told_otherwise() -> None:
    order = Order("bit", None, None, Settings())
    spec = picture_of(order, (0.5,) * 3, (0.5,) * 3)
    assert spec == PictureSpec(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear", "squash", 1.0)
    assert spec.view((50, 80)).seen == (0, 0, 80, 50)
    cropped = picture_of(Order("bit", None, None, Settings(resize="crop")), (0.5,) * 3, (0.5,) * 3)
    assert cropped.view((50, 80)).seen == pytest.approx((15, 0, 65, 50), abs=1)


def test_the_description_tells_how_a_picture_is_prepared(folder: Path) -> None:
    assert demo(folder)[0].describe()["transform"] == {
        "resize": "crop",
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "input_size": [224, 224],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }


def test_an_archive_from_before_there_was_cropping_squashes(tiny: Path, tmp_path: Path) -> None:
    import json

    write_archive(Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings()), tmp_path)
    manifest = json.loads((tmp_path / "intgrads.json").read_text())
    assert manifest["picture"]["resizing"] == "crop"
    del manifest["picture"]["resizing"], manifest["picture"]["crop_pct"]
    del manifest["settings"]["resize"], manifest["settings"]["crop_pct"]
    (tmp_path / "intgrads.json").write_text(json.dumps(manifest))
    network = open_archive(tmp_path).network
    assert isinstance(network, ImageClassifier)
    assert network.picture.view((300, 451)).seen == (0, 0, 451, 300)


@pytest.mark.parametrize(
    ("stated", "words"), [({"crop_mode": "tiles"}, "crop_mode 'tiles'"), ({"interpolation": "sinc"}, "'sinc'")]
)
def test_a_preparation_that_is_unknown_is_refused(stated: dict[str, Any], words: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(TINY, pretrained_cfg_overlay=stated)
    with pytest.raises(CheckpointError, match=words):
        stated_transform(network)


def test_a_training_of_random_filters_is_evaluated_with_bicubic() -> None:
    with torch.device("meta"):
        network = timm.create_model(TINY, pretrained_cfg_overlay={"interpolation": "random"})
    assert stated_transform(network).interpolation == "bicubic"
