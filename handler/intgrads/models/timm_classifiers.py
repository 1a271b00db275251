"""Any image classifier of timm (R. Wightman, "PyTorch Image Models", doi 10.5281/zenodo.4414861), by its name.

The network's code is timm's; weights and labels are the user's. How the picture is prepared (size, cropping, mean, std,
interpolation) is what timm's own evaluation does for the name, unless the archive's settings say otherwise.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args

import timm
import torch
from timm.data import resolve_data_config
from torch import Tensor, nn

from intgrads.checkpoints import CheckpointError, fit, read_weights
from intgrads.models.family import Ingredients, Order, adjusted
from intgrads.pictures import Interpolation, PictureSpec, Resizing

RESIZING: dict[str, Resizing] = {"center": "crop", "squash": "squash", "border": "pad"}
"""timm's ``crop_mode`` and ours."""


def stated_preparation(module: nn.Module) -> PictureSpec:
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


class TimmClassifiers:
    """``timm:NAME --weights FILE --labels FILE``."""

    name = "timm"
    usage = "timm:NAME   any classifier of timm, with --weights and --labels"

    def claims(self, model: str) -> bool:
        """Whether this family builds the network that MODEL names."""
        return model.startswith("timm:")

    def prepare(self, order: Order) -> Ingredients:
        """Read the user's weights and labels; see :meth:`Family.prepare`."""
        architecture = order.model.removeprefix("timm:")
        if not timm.is_model(architecture):
            close = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), n=5))
            raise CheckpointError(
                f"timm {timm.__version__} has no model {architecture!r}" + (f"; near it: {close}" if close else "")
            )
        if order.weights is None or order.labels is None:
            raise CheckpointError(f"{order.model} needs --weights FILE and --labels FILE (one label a line)")
        return self.ingredients(architecture, read_weights(order.weights), order.labels, order)

    def ingredients(
        self, architecture: str, weights: dict[str, Tensor], labels: list[str], order: Order
    ) -> Ingredients:
        """Fit weights to an architecture and describe how its picture is prepared."""
        with torch.device("meta"):
            module = timm.create_model(architecture, pretrained=False, num_classes=len(labels))
        fitted = fit(weights, module.state_dict(), order.weights or Path(architecture))
        picture = adjusted(stated_preparation(module), order.settings)
        return Ingredients(
            architecture={"name": architecture, "num_classes": len(labels)},
            weights=fitted,
            picture=picture,
            labels=labels,
        )

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`Family.build`."""
        module: nn.Module = timm.create_model(
            architecture["name"], pretrained=False, num_classes=architecture["num_classes"]
        )
        return module
