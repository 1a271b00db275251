"""An image classifier as the service sees it, and a picture on its way through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intgrads.attribution import Attribution
from intgrads.baselines import image_baseline
from intgrads.group_rendering import group_map
from intgrads.groups import Family, GroupValues
from intgrads.labels import Labels
from intgrads.pages import groups_section, picture_section
from intgrads.picture_groups import PictureGroups
from intgrads.pictures import Picture, PictureSpec
from intgrads.rendering import heat_map, to_png
from intgrads.request import ImageRequest, Request
from intgrads.settings import Settings


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

    @property
    def request(self) -> type[Request]:
        """What is asked of it."""
        return ImageRequest

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        return {"input_size": [self.picture.height, self.picture.width]}

    def subjects(self, request: ImageRequest, settings: Settings) -> list[SentPicture]:
        """Decode the picture of a request.

        Raises
        ------
        RequestError
            If it cannot be.
        """
        return [SentPicture(self, request, request.picture(settings), settings)]


class SentPicture:
    """The picture of a request.

    Parameters
    ----------
    network : ImageClassifier
    request : ImageRequest
    picture : Picture
    settings : Settings

    Raises
    ------
    RequestError
        If the groups that were asked for cannot be made.
    """

    def __init__(self, network: ImageClassifier, request: ImageRequest, picture: Picture, settings: Settings) -> None:
        self.network, self.request, self.picture = network, request, picture
        self.shape = network.shape
        spec = network.picture
        self.notes = picture.notes
        if picture.size != (spec.height, spec.width):
            self.notes += (
                f"the picture was resized from {picture.size[1]} × {picture.size[0]} to the network's "
                f"{spec.width} × {spec.height}",
            )
        groups = request.pixel_groups(picture, spec, settings)
        self.family = None if groups is None else _family(groups, request.group_pixels)
        self.notes += () if groups is None else tuple(groups.notes)

    def bind(self, module: nn.Module) -> nn.Module:
        """Return the network as it takes this picture: as any other."""
        return module

    def path(self) -> tuple[Tensor, Tensor]:
        """Return the picture and its baseline as the network takes them, (3, H, W)."""
        spec = self.network.picture
        pixels = spec.resize(self.picture)
        x = spec.normalise(pixels)
        start = image_baseline(self.request.baseline, pixels, self.request.seed)
        return x, torch.zeros_like(x) if start is None else spec.normalise(start)

    def figures(self, attribution: Attribution) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """Return what comes with every answer about the picture: nothing."""
        return {}

    def strings(self) -> dict[str, list[str]]:
        """Return the lists of strings that come with every answer: none."""
        return {}

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the picture, as plain JSON."""
        spec = self.network.picture
        return {"picture_size": list(self.picture.size), "input_size": [spec.height, spec.width]}

    def by_unit(self, features: Tensor) -> Tensor:
        """Return (3, H, W) as pixels and their channels, (H·W, 3)."""
        return features.flatten(1).T

    def png(self, attribution: Attribution, groups: GroupValues | None) -> bytes:
        """Return the heat map over the picture, at its size, or the groups on it."""
        if groups is not None:
            return to_png(self._group_map(groups))
        return to_png(heat_map(self.picture.pixels, attribution.integrated_gradients[0].numpy()))

    def section(self, attribution: Tensor, groups: GroupValues | None) -> str:
        """Return the picture in HTML, its heat map for one of the targets and its groups."""
        drawn = None if groups is None else self._group_map(groups)
        section = picture_section(self.picture.pixels, attribution.numpy(), drawn)
        return section if self.family is None or groups is None else section + groups_section(self.family, groups)

    def _group_map(self, groups: GroupValues) -> NDArray[np.uint8]:
        assert self.family is not None
        return group_map(self.picture.pixels, self.family.places[:-1], self.family.labels[:-1], groups)


def _family(groups: PictureGroups, pixels: bool) -> Family:
    """Return the groups and the whole picture, with or without each single pixel."""
    masks = np.concatenate([groups.masks, np.ones_like(groups.masks[:1])])
    return Family(
        kinds=[groups.kind] * len(groups.labels) + ["picture"],
        labels=[*groups.labels, "the whole picture"],
        members=masks.reshape(len(masks), -1),
        units=pixels,
        name="group_masks",
        places=masks,
    )
