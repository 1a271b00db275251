"""An image classifier as the service sees it: a module, how it wants its picture, and its labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from intgrads.labels import Labels
from intgrads.pictures import PictureSpec


@dataclass(frozen=True)
class ImageClassifier:
    """A network ready to be attributed.

    Attributes
    ----------
    module : nn.Module
        (B, 3, H, W) normalised pictures to logits (B, C); evaluation mode, parameters frozen.
    picture : PictureSpec
    labels : Labels
        C of them.
    """

    module: nn.Module
    picture: PictureSpec
    labels: Labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input: (3, H, W)."""
        return self.picture.shape
