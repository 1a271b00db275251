"""What an archive holds, beside the code: its manifest, labels and weights. Written when it is made, read by a worker.

``intgrads.json`` names the network and states every setting, ``labels.json`` names its outputs, ``weights.safetensors``
holds its numbers. None of them is a program.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from intgrads.labels import Labels
from intgrads.models import FAMILIES, find_family
from intgrads.models.family import Order
from intgrads.models.image import ImageClassifier
from intgrads.pictures import PictureSpec
from intgrads.preparation import prepare
from intgrads.settings import Settings

MANIFEST = "intgrads.json"
LABELS = "labels.json"
WEIGHTS = "weights.safetensors"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Archive:
    """An archive that was read: what its model is called, its network with weights, and its settings."""

    model: str
    network: ImageClassifier
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
    family = find_family(order.model)
    ingredients = family.prepare(order)
    manifest = {
        "model": order.model,
        "family": family.name,
        "architecture": ingredients.architecture,
        "picture": asdict(ingredients.picture),
        "settings": order.settings.model_dump(mode="json"),
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    (directory / LABELS).write_text(json.dumps(ingredients.labels, ensure_ascii=False, indent=1), encoding="utf-8")
    save_file(ingredients.weights, directory / WEIGHTS)


def open_archive(directory: Path, device: torch.device = CPU) -> Archive:
    """Read the files of an archive and build its network, prepared to run on a device.

    Raises
    ------
    OSError, ValueError, KeyError, RuntimeError
        If the archive is damaged or was made by another version.
    """
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    module = FAMILIES[manifest["family"]].build(manifest["architecture"])
    # Assigned, not copied: the largest networks fill gigabytes.
    module.load_state_dict(load_file(directory / WEIGHTS), strict=True, assign=True)
    picture = PictureSpec(**manifest["picture"])
    network = ImageClassifier(
        module=prepare(module.eval(), picture.shape, device),
        picture=picture,
        labels=Labels(json.loads((directory / LABELS).read_text(encoding="utf-8"))),
    )
    return Archive(manifest["model"], network, Settings.model_validate(manifest["settings"]))
