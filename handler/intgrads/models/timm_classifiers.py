"""Any image classifier of timm (R. Wightman, "PyTorch Image Models", doi 10.5281/zenodo.4414861), by its name.

The network's code is timm's; weights and labels are the user's. How the picture is prepared (size, mean, std,
interpolation) is what timm states for the name, unless the archive's settings say otherwise.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from intgrads.checkpoints import CheckpointError, fit, read_weights
from intgrads.models.family import Ingredients, Order
from intgrads.pictures import PictureSpec


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
        self, architecture: str, weights: dict[str, Tensor], labels: list[str], order: Order, **defaults: Any
    ) -> Ingredients:
        """Fit weights to an architecture and describe how its picture is prepared."""
        with torch.device("meta"):
            module = timm.create_model(architecture, pretrained=False, num_classes=len(labels))
        fitted = fit(weights, module.state_dict(), order.weights or Path(architecture))
        stated = {**module.pretrained_cfg, **defaults}
        interpolation = stated.get("interpolation", "bicubic")
        height, width = order.settings.input_size or stated["input_size"][1:]
        picture = PictureSpec(
            height=height,
            width=width,
            mean=tuple(order.settings.mean or stated["mean"]),
            std=tuple(order.settings.std or stated["std"]),
            interpolation="bilinear" if interpolation == "bilinear" else "bicubic",
        )
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
