"""An archive of a network of pictures, opened."""

from __future__ import annotations

import torch
from torch import nn

from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import decode_picture
from intgrads.pictures.objects import Finder
from intgrads.pictures.transform import PictureSpec
from intgrads.settings import Settings
from intgrads.speed.preparation import prepare
from intgrads.stored import Stored


def open_pictures(stored: Stored, finder: Finder | None) -> ImageClassifier:
    """Return the classifier of an archive, prepared to run on its device, with what finds objects on its pictures.

    Raises
    ------
    ValueError
        If the network does not give one output for each label.
    """
    picture = PictureSpec(**stored.manifest["picture"])
    module = prepare(stored.build(), picture.shape, stored.device, stored.choices)
    _check_outputs(module, torch.zeros(1, *picture.shape, device=stored.device), len(stored.labels))
    return ImageClassifier(module, picture, stored.labels, finder, stored.outputs, stored.examples)


def _check_outputs(module: nn.Module, picture: torch.Tensor, labels: int) -> None:
    # Told once as it is loaded: each request would fail of it.
    with torch.no_grad():
        given: object = module(picture)
    found = f"a tensor of shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else type(given).__name__
    if not isinstance(given, torch.Tensor) or given.shape != (1, labels):
        raise ValueError(
            f"of one picture the network must give the logits of its {labels} labels, a tensor of shape (1, {labels}), "
            f"and gives {found}; archive a network that gives its logits alone, with a label for each"
        )


def check_picture(data: bytes, settings: Settings) -> None:
    """Raise RequestError where the bytes of a file are no picture that this archive takes."""
    decode_picture(data, None, settings.max_picture_pixels)
