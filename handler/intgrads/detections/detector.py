"""TensorMask alone, as the service sees it: a picture's objects, and attributions of one of them.

What is attributed is frozen on the picture itself: the place on the network's maps where the object was found, before
non-maximum suppression. Its logit there, not its probability, is integrated: probabilities saturate, and their gradient
is 0 in places. Of a mask it is the mean logit over what the mask covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from intgrads.baselines import Start
from intgrads.detections.instances import Instances
from intgrads.detections.request import DetectionRequest
from intgrads.detections.segmenter import Segmenter
from intgrads.detections.tensormask import ClassLogits, MaskLogit, TensorMask
from intgrads.errors import RequestError
from intgrads.integral.groups import GroupFamily
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.pictures.decoding import Picture
from intgrads.pictures.sent import (
    about_drawing,
    by_pixel,
    ends,
    make_family,
    notes_of,
    picture_starts,
    read_picture,
    threshold,
)
from intgrads.pictures.shown import ShownPicture
from intgrads.pictures.transform import PictureSpec
from intgrads.request import Request
from intgrads.settings import Settings
from intgrads.subject import Baseline, Clock, Integrand, Subject


@dataclass(frozen=True)
class Detector:
    """A TensorMask ready to be attributed.

    Attributes
    ----------
    segmenter : Segmenter
    examples : tuple of Path
        Pictures that requests can start from.
    """

    segmenter: Segmenter
    examples: tuple[Path, ...] = ()

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

    @property
    def defaults(self) -> dict[str, Any]:
        """Fields of a request whose defaults are not the request's own: none."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        return {
            "min_size_test": self.segmenter.min_size,
            "max_size_test": self.segmenter.max_size,
            "examples": len(self.examples),
        }

    def find(self, picture: Picture, score_threshold: float, max_answer_mb: int, in_time: Clock) -> Instances:
        """Find the objects of a picture, for a classifier beside; see :meth:`.Finder.find`."""
        return self.segmenter.find(picture, score_threshold, max_answer_mb, in_time)

    def read(self, request: DetectionRequest, settings: Settings) -> list[SearchedPicture]:
        """Decode the picture of a request.

        Raises
        ------
        RequestError
            If it cannot be.
        """
        attributed = request.target_instance is not None
        starts = picture_starts(request, settings, self.examples) if attributed else []
        picture = read_picture(request, settings)
        spec = self.segmenter.picture_spec(picture.size)
        return [SearchedPicture(self.segmenter, request, picture, settings, spec, starts)]


@dataclass(frozen=True)
class SearchedPicture:
    """The picture of a request, decoded: its objects are to be found, and perhaps one of them to be attributed."""

    segmenter: Segmenter
    request: DetectionRequest
    picture: Picture
    settings: Settings
    spec: PictureSpec
    starts: Sequence[Start]

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape of x; None where only objects are asked for."""
        return None if self.request.target_instance is None else self.spec.shape

    def look(self, in_time: Clock) -> Subject:
        """Find its objects, the one that is to be attributed among them, and make its groups.

        Raises
        ------
        RequestError
            If the picture has no such detection, or a mask is to be attributed that covers nothing.
        """
        request = self.request
        in_time()
        found = self.segmenter.find(
            self.picture, threshold(request, self.settings), self.settings.max_answer_mb, in_time
        )
        view = self.spec.view(self.picture.size)
        notes = [*notes_of(self.picture, view), *about_drawing(request, self.picture, marked=True)]
        told = None if request.segment is False else found
        if request.target_instance is None:
            return Subject(None, ShownPicture(request, self.picture, view, told, None), tuple(notes))
        k = self._chosen(found, request.target_instance)
        pixels = self.spec.resize(self.picture)
        family, about_groups = make_family(request, pixels, view, self.settings, found)
        in_time()
        more = {"target_instance": k, "target": request.target}
        x, baselines, about_baselines = ends(self.starts, pixels, self.spec, view, in_time)
        return Subject(
            self._integrand(found, k, family, x, baselines),
            ShownPicture(request, self.picture, view, told, family, more),
            (*notes, *about_groups, *about_baselines),
        )

    @staticmethod
    def _chosen(found: Instances, k: int) -> int:
        if not len(found):
            raise RequestError(
                f"no object was found with a probability over {found.score_threshold:g}, none to attribute; "
                "lower `score_threshold`",
                "target_instance",
                kind="NothingFound",
            )
        if k >= len(found):
            raise RequestError(
                f"this picture has the detections 0 to {len(found) - 1} with a probability over "
                f"{found.score_threshold:g}, got {str(k)[:40]}; send one of them, or lower `score_threshold`",
                "target_instance",
            )
        return k

    def _integrand(
        self, found: Instances, k: int, family: GroupFamily | None, x: Tensor, baselines: tuple[Baseline, ...]
    ) -> Integrand:
        place = found.places.place(k)
        if self.request.target == "class":

            def class_logits(module: nn.Module) -> nn.Module:
                return ClassLogits(_as_tensormask(module), place)

            targets = (int(found.classes[k]),)
            return Integrand(
                class_logits, x, baselines, self.segmenter.labels, by_pixel, tuple(x.shape[1:]), targets, family
            )
        region = found.mask_logits[k] > 0
        if not region.any():
            raise RequestError(
                "the mask of this detection covers nothing; attribute its class", "target", kind="EmptyMask"
            )

        def mask_logit(module: nn.Module) -> nn.Module:
            return MaskLogit(_as_tensormask(module), place, region.to(next(module.parameters()).device))

        labels = Labels([f"mask of {found.labels[k]}"])
        return Integrand(mask_logit, x, baselines, labels, by_pixel, tuple(x.shape[1:]), (0,), family)


def _as_tensormask(module: nn.Module) -> TensorMask:
    if not isinstance(module, TensorMask):
        raise TypeError(f"a detection is attributed in a TensorMask, not in a {type(module).__name__}")
    return module
