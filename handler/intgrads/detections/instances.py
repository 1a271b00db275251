"""Objects as TensorMask found them: with where on the network's maps each of them is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from intgrads.detections.tensormask import Detections
from intgrads.pictures.objects import Objects


@dataclass(frozen=True)
class Instances(Objects):
    """N objects of a picture, likeliest first.

    Attributes
    ----------
    places : Detections
        The same, with where on the network's maps each was found.
    mask_logits : list of N tensors
        As the network gave them, each of its own size.
    """

    places: Detections
    mask_logits: list[Tensor]
