"""What an archive holds, beside the code: its manifest, labels and weights. Written when it is made, read by a worker.

``intgrads.json`` names the network and states every setting, ``labels.json`` names its outputs, ``weights.safetensors``
holds its numbers, ``tensormask.safetensors`` those of a TensorMask, and ``tokenizer.json`` the vocabulary of a network
of text. None of them is a program.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from intgrads.checkpoints import CheckpointError
from intgrads.labels import Labels
from intgrads.models import FAMILIES, find_family, tensormask
from intgrads.models.detector import Detector
from intgrads.models.family import Order
from intgrads.models.image import ImageClassifier
from intgrads.models.text import TextClassifier, TextSpec
from intgrads.pictures import PictureSpec
from intgrads.preparation import prepare, prepare_linear
from intgrads.settings import Settings

MANIFEST = "intgrads.json"
LABELS = "labels.json"
WEIGHTS = "weights.safetensors"
CPU = torch.device("cpu")
TOKENIZER = "tokenizer.json"
TENSORMASK = "tensormask.safetensors"


@dataclass(frozen=True)
class Archive:
    """An archive that was read: what its model is called, its network with weights, and its settings."""

    model: str
    network: ImageClassifier | Detector | TextClassifier
    settings: Settings


def write_archive(order: Order, directory: Path) -> None:
    """Write the files of an archive.

    Raises
    ------
    ValueError
        If no family knows the model.
    CheckpointError
        If the weights or labels do not fit it; nothing is written then.
    """
    if order.tensormask is None and (order.tensormask_config is not None or order.model == tensormask.NAME):
        raise CheckpointError("a TensorMask's weights are missing: give them as --tensormask FILE")
    manifest: dict[str, Any] = {"model": order.title, "settings": order.settings.model_dump(mode="json")}
    ingredients, labels = None, []
    if order.model == tensormask.NAME:
        if order.weights is not None or order.tokenizer is not None:
            raise CheckpointError(
                "tensormask alone takes no --weights and no --tokenizer; its weights are --tensormask"
            )
    else:
        family = find_family(order.model)
        ingredients = family.prepare(order)
        manifest |= {"family": family.name, "architecture": ingredients.architecture}
        if order.tokenizer is not None and ingredients.text is None:
            raise CheckpointError(f"--tokenizer is for networks of text, and {order.model} takes pictures")
        if order.tensormask is not None and ingredients.picture is None:
            raise CheckpointError(f"--tensormask is for networks of pictures, and {order.model} takes text")
    if order.tensormask is not None:
        masks = tensormask.prepare_tensormask(order)
        manifest["tensormask"] = {"config": masks.config, "labels": masks.labels}
        labels = masks.labels
        save_file(masks.weights, directory / TENSORMASK)
    if ingredients is not None:
        if ingredients.picture is not None:
            manifest["picture"] = asdict(ingredients.picture)
        if ingredients.text is not None:
            manifest["text"] = ingredients.text.to_json()
            (directory / TOKENIZER).write_text(ingredients.text.tokenizer, encoding="utf-8")
        labels = ingredients.labels
        save_file(ingredients.weights, directory / WEIGHTS)
    (directory / LABELS).write_text(json.dumps(labels, ensure_ascii=False, indent=1), encoding="utf-8")
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read what an archive says of itself."""
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def open_archive(directory: Path, device: torch.device = CPU) -> Archive:
    """Read the files of an archive and build its network, prepared to run on a device.

    Raises
    ------
    OSError, ValueError, KeyError, RuntimeError
        If the archive is damaged or was made by another version.
    ImportError
        If it holds a TensorMask and there is no detectron2.
    """
    manifest = read_manifest(directory)
    settings = Settings.model_validate(manifest["settings"])
    segmenter = None
    if "tensormask" in manifest:
        masks = manifest["tensormask"]
        weights = load_file(directory / TENSORMASK)
        segmenter = tensormask.open_segmenter(masks["config"], masks["labels"], weights, settings, device)
        if "family" not in manifest:
            return Archive(manifest["model"], Detector(segmenter), settings)
    module = FAMILIES[manifest["family"]].build(manifest["architecture"])
    # Assigned, not copied: the largest networks fill gigabytes.
    module.load_state_dict(load_file(directory / WEIGHTS), strict=True, assign=True)
    module.eval().requires_grad_(False)
    labels = Labels(json.loads((directory / LABELS).read_text(encoding="utf-8")))
    network: ImageClassifier | TextClassifier
    if "text" in manifest:
        tokenizer = (directory / TOKENIZER).read_text(encoding="utf-8")
        prepared = prepare_linear(module, device)
        network = TextClassifier(prepared, TextSpec.from_json(manifest["text"], tokenizer), labels)
    else:
        picture = PictureSpec(**manifest["picture"])
        network = ImageClassifier(prepare(module, picture.shape, device), picture, labels, segmenter)
    return Archive(manifest["model"], network, settings)
