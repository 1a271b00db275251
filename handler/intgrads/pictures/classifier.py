"""An image classifier as the service sees it, and the picture of a request on its way through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from intgrads.baselines import Start
from intgrads.errors import RequestError
from intgrads.labels import Labels
from intgrads.outputs import Outputs
from intgrads.pictures.decoding import Picture
from intgrads.pictures.objects import Finder
from intgrads.pictures.request import REGIONS, ImageRequest
from intgrads.pictures.sent import (
    about_drawing,
    by_pixel,
    ends,
    find_objects,
    make_family,
    notes_of,
    picture_starts,
    read_picture,
)
from intgrads.pictures.shown import ShownPicture
from intgrads.pictures.transform import PictureSpec
from intgrads.request import Request
from intgrads.settings import Settings
from intgrads.subject import Clock, Integrand, Subject


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
    finder : Finder or None
        What finds objects on its pictures.
    outputs : str
        What they are; see :mod:`intgrads.outputs`.
    examples : tuple of Path
        Pictures that requests can start from.
    """

    module: nn.Module
    picture: PictureSpec
    labels: Labels
    finder: Finder | None = None
    outputs: Outputs = "softmax"
    examples: tuple[Path, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input: (3, H, W)."""
        return self.picture.shape

    @property
    def request(self) -> type[Request]:
        """What is asked of it."""
        return ImageRequest

    @property
    def defaults(self) -> dict[str, Any]:
        """Fields of a request whose defaults are not the request's own: none."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return what it takes, as plain JSON."""
        segments = {} if self.finder is None else {"segments": list(self.finder.labels)}
        return {
            "input_size": list(self.picture.size),
            "transform": self.picture.described(),
            "examples": len(self.examples),
        } | segments

    def read(self, request: ImageRequest, settings: Settings) -> list[SentPicture]:
        """Decode the picture of a request.

        Raises
        ------
        RequestError
            If it cannot be, or objects are asked for that nothing can find.
        """
        if self.finder is None and (request.segment or "pred_masks" in (request.fields or ())):
            raise RequestError("this archive has no TensorMask; make one with ./archive.sh --tensormask", "segment")
        starts = picture_starts(request, settings, self.examples)
        return [SentPicture(self, request, read_picture(request, settings), settings, starts)]


@dataclass(frozen=True)
class SentPicture:
    """The picture of a request, decoded."""

    network: ImageClassifier
    request: ImageRequest
    picture: Picture
    settings: Settings
    starts: Sequence[Start]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of x."""
        return self.network.shape

    def look(self, in_time: Clock) -> Subject:
        """Find its objects and make its groups, as far as they are asked for, and the ends of the path."""
        spec, request = self.network.picture, self.request
        view = spec.view(self.picture.size)
        notes = notes_of(self.picture, view)
        found = find_objects(self.network.finder, request, self.picture, self.settings, in_time)
        if request.score_threshold is not None and found is None:
            notes.append("`score_threshold` was not used: nothing was looked for")
        in_time()
        pixels = spec.resize(self.picture)
        family, about_groups = make_family(request, pixels, view, self.settings, found)
        shown = found is not None and request.segment is not False
        notes += about_drawing(request, self.picture, marked=shown or family is not None)
        in_time()
        x, baselines, about_baselines = ends(self.starts, pixels, spec, view, in_time)
        return Subject(
            Integrand(
                bind=lambda module: module,
                input=x,
                baselines=baselines,
                labels=self.network.labels,
                by_unit=by_pixel,
                unit_shape=spec.size,
                family=family,
                kept_share=request.kept_share if request.groups == REGIONS else None,
            ),
            ShownPicture(request, self.picture, view, None if request.segment is False else found, family),
            (*notes, *about_groups, *about_baselines),
        )
