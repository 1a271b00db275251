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

from intgrads.detections.archived import open_tensormask, write_tensormask
from intgrads.detections.detector import Detector
from intgrads.labels import Labels
from intgrads.networks import FAMILIES, find_entry
from intgrads.networks.family import Order
from intgrads.outputs import Outputs, check_outputs
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.transform import PictureSpec
from intgrads.settings import Settings
from intgrads.speed.preparation import prepare, prepare_linear
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.spec import TextSpec

MANIFEST = "intgrads.json"
LABELS = "labels.json"
WEIGHTS = "weights.safetensors"
CPU = torch.device("cpu")
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Archive:
    """An archive that was read: what its model is called, its network with weights, and its settings."""

    model: str
    network: ImageClassifier | Detector | TextClassifier
    settings: Settings


def write_archive(order: Order, directory: Path) -> tuple[str, ...]:
    """Write the files of an archive and return what was settled for its maker, to be told.

    Raises
    ------
    CheckpointError
        If no family knows the model, or the weights or labels do not fit it; nothing is written then.
    """
    entry = find_entry(order.model)
    entry.check(order)
    manifest: dict[str, Any] = {"model": order.title, "settings": order.settings.model_dump(mode="json")}
    ingredients, labels = None, []
    if entry.place:
        ingredients = entry.family().read(order)
        outputs = order.settings.outputs or ingredients.outputs
        check_outputs(outputs, len(ingredients.labels))
        manifest |= {"family": entry.name, "architecture": ingredients.architecture, "outputs": outputs}
    found = write_tensormask(order, directory)
    if found:
        manifest["tensormask"], labels = found, found["labels"]
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
    return () if ingredients is None else ingredients.notes


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
    finder = None
    if "tensormask" in manifest:
        finder = open_tensormask(manifest["tensormask"], directory, settings, device)
        if "family" not in manifest:
            return Archive(manifest["model"], Detector(finder), settings)
    module = FAMILIES[manifest["family"]].family().build(manifest["architecture"])
    # Assigned, not copied: the largest networks fill gigabytes.
    module.load_state_dict(load_file(directory / WEIGHTS), strict=True, assign=True)
    module.eval().requires_grad_(False)
    labels = Labels(json.loads((directory / LABELS).read_text(encoding="utf-8")))
    # Archives from before outputs were told apart hold classes of which one is true.
    outputs: Outputs = manifest.get("outputs", "softmax")
    network: ImageClassifier | TextClassifier
    if "text" in manifest:
        tokenizer = (directory / TOKENIZER).read_text(encoding="utf-8")
        prepared = prepare_linear(module, device)
        network = TextClassifier(prepared, TextSpec.from_json(manifest["text"], tokenizer), labels, outputs)
    else:
        picture = PictureSpec(**manifest["picture"])
        network = ImageClassifier(prepare(module, picture.shape, device), picture, labels, finder, outputs)
    return Archive(manifest["model"], network, settings)
