"""What the two networks of the first image server share: pictures of 32 × 32 and CIFAR-10's labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from intgrads.errors import CheckpointError
from intgrads.labels import CIFAR10
from intgrads.networks.checkpoints import read_weights
from intgrads.networks.family import Order, adjusted, check_number
from intgrads.pictures.transform import PictureSpec

Triple = tuple[float, float, float]


def architecture_of(order: Order, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a copy of the architecture that MODEL names.

    Raises
    ------
    CheckpointError
        If none has that name.
    """
    if order.model not in known:
        raise CheckpointError(f"unknown MODEL {order.model!r}; of its family there are {', '.join(known)}")
    return dict(known[order.model])


def weights_of(order: Order) -> tuple[Path, dict[str, Tensor]]:
    """Return the checkpoint's path and its named tensors.

    Raises
    ------
    CheckpointError
        If it cannot be read.
    """
    path = order.file("weights")
    return path, read_weights(path)


def classes_of(weights: dict[str, Tensor], bias: str) -> int:
    """Return the number of classes by the classifier's bias; ten where there is none, for the fit to tell of."""
    return weights[bias].numel() if bias in weights and weights[bias].numel() else len(CIFAR10)


def labels_of(order: Order, classes: int) -> list[str]:
    """Return the user's labels, or CIFAR-10's where there are ten classes and none were given.

    Raises
    ------
    CheckpointError
        If their number is not that of the checkpoint's classes.
    """
    if order.labels is None and classes != len(CIFAR10):
        raise CheckpointError(f"the checkpoint has {classes} classes, not CIFAR-10's ten; name them with --labels FILE")
    labels = list(CIFAR10) if order.labels is None else order.labels
    check_number(labels, classes)
    return labels


def picture_of(order: Order, mean: Triple, std: Triple) -> PictureSpec:
    """Return how a picture is prepared: resized whole to 32 × 32, unless the archive's settings say otherwise."""
    return adjusted(PictureSpec(32, 32, mean, std, "bilinear"), order.settings)
