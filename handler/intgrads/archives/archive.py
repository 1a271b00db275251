"""What an archive holds, beside the code: its manifest, labels and weights. Written when it is made, read by a worker.

``intgrads.json`` names the network and states every setting, ``labels.json`` names its outputs, ``weights.safetensors``
holds its numbers, ``tensormask.safetensors`` those of a TensorMask, and ``tokenizer.json`` the vocabulary of a network
of text. Inputs that requests can start from lie in ``examples``, as they were given. None of them is a program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from intgrads.archives.examples import write_examples
from intgrads.archives.names import LABELS, MANIFEST, WEIGHTS
from intgrads.baselines import EXAMPLES
from intgrads.kinds import KINDS
from intgrads.labels import Labels
from intgrads.networks import FAMILIES, find_entry
from intgrads.networks.family import Order
from intgrads.outputs import check_outputs
from intgrads.settings import Settings, without_part
from intgrads.speed.choices import shared_choices
from intgrads.stored import Stored
from intgrads.subject import Classifier

CPU = torch.device("cpu")

OF_ANOTHER_VERSION = "it was made by another version, whose code it brings: see that PYTHONPATH names no other"


@dataclass(frozen=True)
class Archive:
    """An archive that was read: its model's name, its network with weights, its settings, how layers are computed."""

    model: str
    network: Classifier
    settings: Settings
    operators: Mapping[str, str]


def write_archive(order: Order, directory: Path) -> list[str]:
    """Write the files of an archive and return what was settled for its maker, to be told.

    Raises
    ------
    CheckpointError
        If no family knows the model, or the weights or labels do not fit it; nothing is written then.
    """
    entry = find_entry(order.model)
    entry.check(order)
    manifest: dict[str, Any] = {"model": order.title, "settings": order.settings.model_dump(mode="json")}
    labels, notes = [], []
    if entry.place:
        made = entry.family().read(order)
        outputs = order.settings.outputs or made.outputs
        check_outputs(outputs, len(made.labels))
        if not order.settings.model_fields_set & {"tolerance", "n_steps", "method"}:
            manifest["settings"]["tolerance"] = made.tolerance
        manifest |= {"family": entry.name, "architecture": made.architecture, "outputs": outputs}
        manifest[made.spec.kind] = made.spec.stated()
        for name, text in made.spec.files().items():
            (directory / name).write_text(text, encoding="utf-8")
        save_file(made.weights, directory / WEIGHTS)
        labels, notes = made.labels, list(made.notes)
    for kind in KINDS:
        part = kind.write(order, directory) if kind.write else {}
        if part:
            manifest[kind.name] = part
            labels = labels or part["labels"]
    if order.examples is not None:
        kind = next(kind for kind in KINDS if kind.name in manifest)
        notes.append(write_examples(order.examples, directory / EXAMPLES, kind, order.settings))
    (directory / LABELS).write_text(json.dumps(labels, ensure_ascii=False, indent=1), encoding="utf-8")
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    unused = without_part(order.settings, [kind.name for kind in KINDS if kind.name in manifest])
    return notes + [f"`{name}` plays no part in this archive" for name in unused]


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read what an archive says of itself.

    Raises
    ------
    OSError, ValueError
        If it says nothing, or what is damaged.
    """
    manifest: dict[str, Any] = _read_json(directory / MANIFEST)
    return manifest


def read_settings(manifest: Mapping[str, Any]) -> Settings:
    """Return the settings that an archive states.

    Raises
    ------
    ValueError
        If this version does not know one of them, or not its value.
    """
    try:
        return Settings.model_validate(manifest["settings"])
    except ValidationError as error:
        wrong = ", ".join(str(one["loc"][0]) if one["loc"] else one["msg"] for one in error.errors(include_url=False))
        raise ValueError(f"{MANIFEST} states settings that are not known here: {wrong}; {OF_ANOTHER_VERSION}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None


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

    def build() -> nn.Module:
        if manifest["family"] not in FAMILIES:
            raise ValueError(f"networks of the family {manifest['family']!r} are not known here; {OF_ANOTHER_VERSION}")
        module = FAMILIES[manifest["family"]].family().build(manifest["architecture"])
        # Assigned, not copied: the largest networks fill gigabytes.
        module.load_state_dict(_read_weights(directory / WEIGHTS), strict=True, assign=True)
        return module.eval().requires_grad_(False)

    settings = read_settings(manifest)
    labels = Labels(_read_json(directory / LABELS))
    # Archives from before outputs were told apart hold classes of which one is true.
    outputs = manifest.get("outputs", "softmax")
    network: Classifier | None = None
    with shared_choices(directory, settings.operators) as choices:
        examples = tuple(sorted((directory / EXAMPLES).glob("*")))
        stored = Stored(directory, manifest, settings, device, labels, outputs, choices, examples, build)
        for kind in reversed(KINDS):
            if kind.name in manifest:
                network = kind.open(stored, network)
    if network is None:
        raise ValueError(
            f"it holds no kind of input that is known here; it says {', '.join(manifest)}; {OF_ANOTHER_VERSION}"
        )
    return Archive(manifest["model"], network, settings, choices.made)
