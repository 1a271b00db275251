"""Any image classifier of timm (R. Wightman, "PyTorch Image Models", doi 10.5281/zenodo.4414861), by its name.

The network's code is timm's; weights and labels are the user's. How the picture is prepared (size, cropping, mean, std,
interpolation) is what timm's own evaluation does for the name, unless the archive's settings say otherwise.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import timm
import torch
from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config
from torch import Tensor, nn

from intgrads.errors import CheckpointError
from intgrads.networks.checkpoints import fit, read_weights
from intgrads.networks.family import DEFAULT_TOLERANCE, Ingredients, Order, adjusted, check_number
from intgrads.pictures.transform import Interpolation, PictureSpec
from intgrads.settings import Resizing

RESIZING: dict[str, Resizing] = {"center": "crop", "squash": "squash", "border": "pad"}
"""timm's ``crop_mode`` and ours."""


def stated_transform(module: nn.Module) -> PictureSpec:
    """Return how timm prepares a picture to evaluate a network of its own.

    Raises
    ------
    CheckpointError
        If it does so in a way that is unknown here.
    """
    stated: dict[str, Any] = resolve_data_config({}, model=module)
    # "random" is a training's choice among filters.
    interpolation: Any = "bicubic" if stated["interpolation"] == "random" else stated["interpolation"]
    if stated["crop_mode"] not in RESIZING or interpolation not in get_args(Interpolation):
        raise CheckpointError(
            f"timm {timm.__version__} prepares this network's pictures by crop_mode {stated['crop_mode']!r} and "
            f"interpolation {interpolation!r}, which is unknown here; install the versions of constraints.txt"
        )
    _, height, width = stated["input_size"]
    return PictureSpec(
        height,
        width,
        tuple(stated["mean"]),
        tuple(stated["std"]),
        interpolation,
        RESIZING[stated["crop_mode"]],
        stated["crop_pct"],
    )


def classes_of(weights: Mapping[str, Tensor], stated: Mapping[str, Any]) -> int:
    """Return the number of a checkpoint's classes, by its classifier; timm's number where it has none of that name."""
    names = stated["classifier"]
    name = names if isinstance(names, str) else names[0]
    weight = weights.get(f"{name}.weight")
    return int(stated["num_classes"]) if weight is None or not weight.ndim else len(weight)


def imagenet_labels(subset: str) -> list[str]:
    """Return timm's labels for a subset of ImageNet, such as ``imagenet-1k``."""
    info = ImageNetInfo(subset)
    return [info.index_to_description(index) for index in range(info.num_classes())]


class TimmClassifiers:
    """``timm:NAME --weights FILE``, and ``--labels FILE`` where the classes are not ImageNet's."""

    def read(self, order: Order) -> Ingredients:
        """Read the user's weights and labels; see :meth:`Family.read`."""
        architecture = order.model.removeprefix("timm:")
        if not timm.is_model(architecture):
            close = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), n=5))
            raise CheckpointError(
                f"timm {timm.__version__} has no model {architecture!r}" + (f"; near it: {close}" if close else "")
            )
        weights = read_weights(order.file("weights"))
        with torch.device("meta"):
            stated = timm.create_model(architecture, pretrained=False).pretrained_cfg
        classes = classes_of(weights, stated)
        if order.labels is not None:
            check_number(order.labels, classes)
            return self.ingredients(architecture, weights, order.labels, order)
        subset = infer_imagenet_subset({"num_classes": classes})
        if subset is None:
            raise CheckpointError(
                f"{order.model} needs --labels FILE (one label a line): the checkpoint has {classes} classes, and timm "
                "knows no names for so many"
            )
        made = self.ingredients(architecture, weights, imagenet_labels(subset), order)
        note = f"its {classes} labels are taken to be {subset}'s; name them with --labels if they are others"
        return replace(made, notes=(*made.notes, note))

    def ingredients(
        self, architecture: str, weights: dict[str, Tensor], labels: list[str], order: Order
    ) -> Ingredients:
        """Fit weights to an architecture and describe how its picture is prepared."""
        with torch.device("meta"):
            module = timm.create_model(architecture, pretrained=False, num_classes=len(labels))
        fitted = fit(weights, module.state_dict(), order.weights or Path(architecture))
        picture = adjusted(stated_transform(module), order.settings)
        return Ingredients(
            architecture={"name": architecture, "num_classes": len(labels)},
            weights=fitted,
            spec=picture,
            labels=labels,
            outputs="softmax" if len(labels) > 1 else "none",
            tolerance=DEFAULT_TOLERANCE,
        )

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`Family.build`."""
        module: nn.Module = timm.create_model(
            architecture["name"], pretrained=False, num_classes=architecture["num_classes"]
        )
        return module
