"""TensorMask alone, as the service sees it: a picture's objects, and attributions of one of them.

What is attributed is frozen on the picture itself: the place on the network's maps where the object was found, before
non-maximum suppression. Its logit there, not its probability, is integrated: probabilities saturate, and their gradient
is 0 in places. Of a mask it is the mean logit over what the mask covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from intgrads.errors import RequestError
from intgrads.integral.groups import Family
from intgrads.labels import Labels
from intgrads.models.image import SentPicture
from intgrads.outputs import Outputs
from intgrads.pictures import Picture
from intgrads.request import DetectionRequest, Request
from intgrads.segmentation.segmenter import Segmenter
from intgrads.segmentation.tensormask import ClassLogits, MaskLogit, TensorMask
from intgrads.settings import Settings


@dataclass(frozen=True)
class Detector:
    """A TensorMask ready to be attributed.

    Attributes
    ----------
    segmenter : Segmenter
    """

    segmenter: Segmenter

    @property
    def module(self) -> nn.Module:
        """The network, in evaluation mode and frozen."""
        return self.segmenter.network

    @property
    def labels(self) -> Labels:
        """One for each class."""
        return self.segmenter.labels

    @property
    def outputs(self) -> Outputs:
        """Labels of which any number may be true at a place."""
        return "sigmoid"

    @property
    def shape(self) -> None:
        """Pictures differ in size."""
        return None

    @property
    def request(self) -> type[Request]:
        """What is asked of it."""
        return DetectionRequest

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        return {"min_size_test": self.segmenter.min_size, "max_size_test": self.segmenter.max_size}

    def subjects(self, request: DetectionRequest, settings: Settings) -> list[SearchedPicture]:
        """Decode the picture of a request.

        Raises
        ------
        RequestError
            If it cannot be.
        """
        return [SearchedPicture(self.segmenter, request, request.picture(settings), settings)]


class SearchedPicture(SentPicture):
    """The picture of a request: its objects, and one of them to attribute if any was asked for.

    Parameters
    ----------
    segmenter : Segmenter
    request : DetectionRequest
    picture : Picture
    settings : Settings
    """

    def __init__(self, segmenter: Segmenter, request: DetectionRequest, picture: Picture, settings: Settings) -> None:
        spec = segmenter.picture_spec(picture.size)
        super().__init__(spec, segmenter.labels, segmenter, request=request, picture=picture, settings=settings)
        self.detector = segmenter
        self.asked = request
        self.attributed = request.target_instance is not None

    @cached_property
    def family(self) -> Family | None:
        """The groups that were asked for; none where nothing is attributed that they could carry."""
        return super().family if self.attributed else None

    @cached_property
    def instance(self) -> int:
        """The detection to attribute.

        Raises
        ------
        RequestError
            If the picture has no such detection.
        """
        found, k = self.found, self.asked.target_instance
        assert found is not None
        assert k is not None
        if not len(found):
            raise RequestError(
                f"no object was found with a probability over {found.score_threshold:g}, none to attribute; "
                "lower `score_threshold`",
                "target_instance",
                code=422,
                type="NothingFound",
            )
        if k >= len(found):
            raise RequestError(
                f"this picture has the detections 0 to {len(found) - 1} with a probability over "
                f"{found.score_threshold:g}, got {str(k)[:40]}; send one of them, or lower `score_threshold`",
                "target_instance",
            )
        return k

    def bind(self, module: nn.Module) -> nn.Module:
        """Return what is attributed of the detection, as a function of the picture.

        Raises
        ------
        RequestError
            If there is no such detection, or a mask is to be attributed that covers nothing.
        """
        assert isinstance(module, TensorMask)
        assert self.found is not None
        k, places = self.instance, self.found.places
        if self.asked.target == "class":
            return ClassLogits(module, places.place(k))
        region = self.found.mask_logits[k] > 0
        if not region.any():
            raise RequestError(
                "the mask of this detection covers nothing; attribute its class", "target", code=422, type="EmptyMask"
            )
        return MaskLogit(module, places.place(k), region.to(next(module.parameters()).device))

    @property
    def targets(self) -> tuple[int, ...]:
        """The detection's own class, or its mask."""
        assert self.found is not None
        return (int(self.found.classes[self.instance]),) if self.asked.target == "class" else (0,)

    @property
    def labels(self) -> Labels:
        """The classes, or the mask."""
        if not self.attributed or self.asked.target == "class":
            return self.detector.labels
        assert self.found is not None
        return Labels([f"mask of {self.found.labels[self.instance]}"])

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the picture, as plain JSON."""
        told = super().info()
        return told | {"target_instance": self.instance, "target": self.asked.target} if self.attributed else told
