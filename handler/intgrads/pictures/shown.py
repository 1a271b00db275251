"""How a picture and its attribution are told and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from intgrads.integral.attribution import Attribution
from intgrads.integral.groups import GroupFamily, GroupValues
from intgrads.pages.exhibit import Exhibit
from intgrads.pictures.decoding import Picture
from intgrads.pictures.group_map import group_map
from intgrads.pictures.heat_map import heat_map, signed_map
from intgrads.pictures.object_map import object_map
from intgrads.pictures.objects import Objects
from intgrads.pictures.page import picture_exhibit
from intgrads.pictures.request import ImageRequest
from intgrads.pictures.styles import Style, in_style
from intgrads.pictures.transform import View
from intgrads.subject import Array


@dataclass(frozen=True)
class ShownPicture:
    """A picture as answers show it.

    Attributes
    ----------
    request : ImageRequest
    picture : Picture
    view : View
        What the network sees of it.
    found : Objects or None
        Its objects, where they are to be told.
    family : GroupFamily or None
        The groups that were asked for.
    more : mapping
        What else is told of it, as plain JSON.
    """

    request: ImageRequest
    picture: Picture
    view: View
    found: Objects | None
    family: GroupFamily | None
    more: Mapping[str, Any] = field(default_factory=dict)

    def arrays(self, attribution: Attribution | None) -> list[Array]:  # noqa: ARG002
        """Return its objects, and where its groups lie, as far as they are to be sent."""
        sent = self.request.sent_tensors()
        arrays = [] if self.found is None else self.found.arrays("pred_masks" in sent)
        if self.family is not None and "group_masks" in sent:
            arrays.append(Array("group_masks", self.family.places, large=True))
        return arrays

    def strings(self) -> dict[str, list[str]]:
        """Return the lists of strings that come with every answer: none."""
        return {}

    def info(self) -> dict[str, Any]:
        """Return what the answer's figures tell of the picture, as plain JSON."""
        told: dict[str, Any] = {
            "picture_size": list(self.picture.size),
            "input_size": list(self.view.size),
            "seen": list(self.view.seen),
        }
        if self.found is not None:
            told["score_threshold"] = self.found.score_threshold
            told["instances"] = self.found.listed(with_masks=self.request.format == "json")
        return told | dict(self.more)

    def draw(
        self, attribution: Attribution | None, groups: GroupValues | None, kept: Sequence[int], title: str
    ) -> NDArray[np.uint8]:
        """Return the attribution over the picture, or the groups on it; without either, its objects."""
        if groups is not None and self.family is not None:
            return self._group_map(self.family, groups, kept, attribution)
        if attribution is not None:
            if self.request.style != "plain":
                return self._in_style(self.request.style, attribution, title)
            return self._heat_map(attribution.integrated_gradients[0])
        return self.picture.pixels if self.found is None else object_map(self.picture.pixels, self.found)

    def exhibit(self, attribution: Attribution | None, kept: Sequence[Sequence[int]]) -> Exhibit:
        """Return what a page shows of the picture; see :meth:`intgrads.subject.Shown.exhibit`."""
        of_object = "target_instance" in type(self.request).model_fields
        pixels, found = self.picture.pixels, self.found
        return picture_exhibit(pixels, self.view, attribution, self.family, kept, found=found, of_object=of_object)

    def _in_style(self, style: Style, attribution: Attribution, title: str) -> NDArray[np.uint8]:
        figures = (
            f"f(x) − f(x′) = {attribution.difference[0]:.3g}; the map is off by about "
            f"{attribution.attribution_error[0]:.1%}"
        )
        map_of_target = attribution.integrated_gradients[0].numpy()
        return in_style(style, self.picture.pixels, map_of_target, self.view, title=title, figures=figures)

    def _heat_map(self, attribution: Tensor) -> NDArray[np.uint8]:
        # A contrast has two sides, and which of them a pixel speaks for is the answer.
        drawn = heat_map if self.request.against is None else signed_map
        return drawn(self.picture.pixels, attribution.numpy(), self.view)

    def _group_map(
        self, family: GroupFamily, groups: GroupValues, kept: Sequence[int], attribution: Attribution | None
    ) -> NDArray[np.uint8]:
        """Draw the groups; of a tree its leaves, as larger ones would hide them."""
        drawn = family.drawn
        labels = [family.labels[k] for k in drawn]
        framed: NDArray[np.bool_] | None = np.any(family.places[list(kept)], axis=0) if kept else None
        places, values = family.places[drawn], groups.of(drawn)
        pixels = self.picture.pixels
        difference = 0.0 if attribution is None else float(attribution.difference[0])
        return group_map(pixels, places, labels, values, self.view, difference=difference, framed=framed)
