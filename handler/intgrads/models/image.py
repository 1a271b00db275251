"""An image classifier as the service sees it, and a picture on its way through it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from intgrads.attribution import Attribution
from intgrads.baselines import image_baseline
from intgrads.errors import RequestError
from intgrads.group_rendering import group_map
from intgrads.groups import Family, GroupValues
from intgrads.instance_rendering import instance_map
from intgrads.labels import Labels
from intgrads.pages import groups_section, instances_section, picture_section
from intgrads.picture_groups import PictureGroups
from intgrads.pictures import Picture, PictureSpec
from intgrads.rendering import heat_map, to_png
from intgrads.request import ImageRequest, Request
from intgrads.segmentation.instances import Instances
from intgrads.segmentation.segmenter import Segmenter
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
    segmenter : Segmenter or None
        What finds objects on its pictures.
    """

    module: nn.Module
    picture: PictureSpec
    labels: Labels
    segmenter: Segmenter | None = None

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
        segments = {} if self.segmenter is None else {"segments": list(self.segmenter.labels)}
        return {"input_size": list(self.picture.size), "preparation": self.picture.described()} | segments

    def subjects(self, request: ImageRequest, settings: Settings) -> list[SentPicture]:
        """Decode the picture of a request.

        Raises
        ------
        RequestError
            If it cannot be.
        """
        picture = request.picture(settings)
        sent = SentPicture(
            self.picture, self.labels, self.segmenter, request=request, picture=picture, settings=settings
        )
        return [sent]


class SentPicture:
    """The picture of a request.

    Parameters
    ----------
    spec : PictureSpec
        How the network that is attributed wants it.
    labels : Labels
        Of that network's outputs.
    segmenter : Segmenter or None
        What finds its objects.
    request : ImageRequest
    picture : Picture
    settings : Settings

    Raises
    ------
    RequestError
        If the groups that were asked for cannot be made, or objects cannot be found.
    """

    attributed = True

    def __init__(
        self,
        spec: PictureSpec,
        labels: Labels,
        segmenter: Segmenter | None,
        *,
        request: ImageRequest,
        picture: Picture,
        settings: Settings,
    ) -> None:
        self.spec, self.segmenter, self._labels = spec, segmenter, labels
        self.request, self.picture, self.settings = request, picture, settings
        self.shape = spec.shape
        self.view = spec.view(picture.size)
        self.notes = picture.notes
        if self.view.changes:
            self.notes += (self.view.told(),)
        if segmenter is None and (request.segment or "pred_masks" in (request.fields or ())):
            raise RequestError("this archive has no TensorMask; make one with ./archive.sh --tensormask", "segment")
        if request.score_threshold is not None and not self.segmented and request.groups != "segments":
            self.notes += ("`score_threshold` was not used: nothing was looked for",)

    @property
    def labels(self) -> Labels:
        """One for each output."""
        return self._labels

    @property
    def targets(self) -> tuple[int, ...] | None:
        """None: the predicted class."""
        return None

    @property
    def segmented(self) -> bool:
        """Whether the answer tells of the picture's objects."""
        return self.segmenter is not None and self.request.segment is not False

    @cached_property
    def found(self) -> Instances | None:
        """The picture's objects; None where there is no TensorMask."""
        if self.segmenter is None:
            return None
        asked = self.request.score_threshold
        threshold = self.settings.score_threshold if asked is None else asked
        return self.segmenter.find(self.picture, threshold, self.settings.max_answer_mb)

    @cached_property
    def family(self) -> Family | None:
        """The groups that were asked for, and the whole picture."""
        groups = self.request.pixel_groups(self.picture, self.spec, self.settings, lambda: self.found)
        if groups is None:
            return None
        self.notes += tuple(groups.notes)
        return _family(groups, self.request.group_pixels)

    def bind(self, module: nn.Module) -> nn.Module:
        """Return the network as it takes this picture: as any other."""
        return module

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, of which one is true."""
        return logits.softmax(0)

    def path(self) -> tuple[Tensor, Tensor]:
        """Return the picture and its baseline as the network takes them, (3, H, W).

        Padding is the same in both and carries no attribution: a baseline is one of the picture, and is made of the
        picture alone.
        """
        spec, inside = self.spec, self.view.inside
        pixels = spec.resize(self.picture)
        x = spec.normalise(pixels)
        start = image_baseline(self.request.baseline, pixels[inside], self.request.seed)
        baseline = x.clone()
        baseline[:, *inside] = 0 if start is None else spec.normalise(start)
        return x, baseline

    def figures(self, attribution: Attribution | None) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """Return what comes with every answer about the picture: its objects."""
        return self.found.figures() if self.segmented and self.found is not None else {}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the masks of its objects, where they are to be sent."""
        wanted = self.segmented and "pred_masks" in self.request.sent_tensors()
        return {"pred_masks": self.found.masks} if wanted and self.found is not None else {}

    def strings(self) -> dict[str, list[str]]:
        """Return the lists of strings that come with every answer: none."""
        return {}

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the picture, as plain JSON."""
        told: dict[str, Any] = {
            "picture_size": list(self.picture.size),
            "input_size": list(self.spec.size),
            "seen": list(self.view.seen),
        }
        if self.segmented and self.found is not None:
            told["score_threshold"] = self.found.score_threshold
            told["instances"] = self.found.listed(with_masks=self.request.format == "json")
        return told

    def by_unit(self, features: Tensor) -> Tensor:
        """Return (3, H, W) as pixels and their channels, (H·W, 3)."""
        return features.flatten(1).T

    def png(self, attribution: Attribution | None, groups: GroupValues | None, info: str) -> bytes:
        """Return the heat map over the picture, at its size, or the groups on it; without either, its objects."""
        if groups is not None:
            return to_png(self._group_map(groups), info)
        if attribution is not None:
            return to_png(self._heat_map(attribution.integrated_gradients[0]), info)
        assert self.found is not None
        return to_png(instance_map(self.picture.pixels, self.found), info)

    def section(self, attribution: Tensor | None, groups: GroupValues | None) -> str:
        """Return the picture in HTML, its heat map for one of the targets, its groups and its objects."""
        shown = [(self.picture.pixels, "the picture")]
        hatched = "; hatched, not seen by the network" if self.view.crops else ""
        if attribution is not None:
            caption = f"what moved the output: bright, much; dark, little{hatched}"
            shown.append((self._heat_map(attribution), caption))
        if groups is not None:
            caption = f"groups: blue raised the output, red lowered it, the deeper the larger the value{hatched}"
            shown.append((self._group_map(groups), caption))
        if self.segmented and self.found is not None:
            shown.append((instance_map(self.picture.pixels, self.found), "the objects that were found"))
        section = picture_section(shown)
        if self.segmented and self.found is not None:
            section += instances_section(self.found)
        return section if self.family is None or groups is None else section + groups_section(self.family, groups)

    def _heat_map(self, attribution: Tensor) -> NDArray[np.uint8]:
        return heat_map(self.picture.pixels, attribution.numpy(), self.view)

    def _group_map(self, groups: GroupValues) -> NDArray[np.uint8]:
        assert self.family is not None
        return group_map(self.picture.pixels, self.family.places[:-1], self.family.labels[:-1], groups, self.view)


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
