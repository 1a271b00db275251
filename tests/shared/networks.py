"""Checkpoints of random weights for BiT and LaNet, and small members of their families."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from intgrads.networks import bit, lanet
from torch import Tensor, nn

CPU = torch.device("cpu")

BIT_SMALL: dict[str, Any] = {"units": [1, 2], "width": 1, "stem_channels": 32, "channels": [128, 128]}
LANET_SMALL: dict[str, Any] = {"cells": 4, "channels": 8, "stem_multiplier": 3}


def name_small_members(patch: pytest.MonkeyPatch) -> None:
    """Let archives be made of ``bit-small`` and ``lanet-small`` until the patch is undone; a worker needs no name."""
    patch.setitem(bit.ARCHITECTURES, "bit-small", BIT_SMALL)
    patch.setitem(lanet.ARCHITECTURES, "lanet-small", LANET_SMALL)


def randomised(state: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Return random values of a state's shapes: as after training, no scale is 1, no shift and no mean 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, tensor in state.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(1000)
        elif name.endswith("running_var"):
            weights[name] = 0.5 + noise.abs()
        elif tensor.ndim >= 2:
            weights[name] = noise / tensor[0].numel() ** 0.5 + 0.01
        elif name.endswith("weight"):
            weights[name] = 1 + 0.3 * noise
        else:
            weights[name] = 0.3 * noise
    return weights


def random_bit(architecture: dict[str, Any], classes: int, seed: int = 0) -> dict[str, Tensor]:
    """Return a checkpoint of BiT under the authors' names."""
    with torch.device("meta"):
        state = bit.BiT().build(architecture | {"num_classes": classes}).state_dict()
    return randomised({bit.pth_name(name): tensor for name, tensor in state.items()}, seed)


def random_lanet(architecture: dict[str, Any], classes: int, seed: int = 0) -> dict[str, Tensor]:
    """Return a checkpoint of LaNet, its auxiliary head among the weights, its statistics those of random pictures."""
    network = lanet.LaNet().build(architecture | {"num_classes": classes})
    network.load_state_dict(randomised(network.state_dict(), seed))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    auxiliary = {
        "auxiliary_head.features.2.weight": torch.empty(128, 2048, 1, 1),
        "auxiliary_head.features.3.running_var": torch.empty(128),
        "auxiliary_head.features.3.num_batches_tracked": torch.empty(()),
        "auxiliary_head.classifier.weight": torch.empty(classes, 768),
        "auxiliary_head.classifier.bias": torch.empty(classes),
    }
    return dict(network.state_dict()) | randomised(auxiliary, seed)
