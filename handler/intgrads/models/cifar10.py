"""What the two networks of the first image server share: pictures of 32 × 32 and CIFAR-10's labels."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from intgrads.checkpoints import CheckpointError, read_weights
from intgrads.labels import CIFAR10
from intgrads.models.family import Order, adjusted
from intgrads.pictures import PictureSpec

Triple = tuple[float, float, float]


def weights_of(order: Order) -> tuple[Path, dict[str, Tensor]]:
    """Return the checkpoint's path and its named tensors.

    Raises
    ------
    CheckpointError
        If none was named, or it cannot be read.
    """
    if order.weights is None:
        raise CheckpointError(f"{order.model} needs --weights FILE")
    return order.weights, read_weights(order.weights)


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
    if len(labels) != classes:
        raise CheckpointError(f"--labels names {len(labels)} classes and the checkpoint has {classes}")
    return labels


def picture_of(order: Order, mean: Triple, std: Triple) -> PictureSpec:
    """Return how a picture is prepared: resized whole to 32 × 32, unless the archive's settings say otherwise."""
    return adjusted(PictureSpec(32, 32, mean, std, "bilinear"), order.settings)
