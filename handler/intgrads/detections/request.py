"""What may be asked about the objects of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field

from intgrads.errors import RequestError
from intgrads.pictures.request import FIGURES, TENSOR_FIELDS, ImageRequest
from intgrads.request import Request, WholeNumber
from intgrads.settings import Settings

OF_OBJECTS = ("pred_masks", "scores", "pred_classes", "pred_boxes")
"""What is told of objects, with or without an attribution."""


class DetectionRequest(ImageRequest):
    """A request for the objects of a picture, and perhaps for attributions of one of them."""

    target_instance: WholeNumber | None = Field(
        None, ge=0, description="which of this picture's detections to attribute, an index into them; default none"
    )
    target: Literal["class", "mask"] = Field(
        "class", description="what of the detection to attribute: its class's logit, or the mean logit of its mask"
    )
    precision: Literal["float32"] = Field("float32", description="precision of the network's arithmetic")

    @classmethod
    def refused_by(cls, kind: type[Request], name: str) -> RequestError:
        """Return the error of a field about detections where another kind of request is taken."""
        if not issubclass(kind, ImageRequest):
            return super().refused_by(kind, name)
        return RequestError(
            "this archive attributes a classifier, not detections; send target_class, or ask an archive made by "
            "./archive.sh tensormask",
            name,
            kind="NoDetector",
        )

    @classmethod
    def unused(cls, content: Mapping[str, Any], refined: bool) -> list[str]:
        """Return notes on what was sent and is not used: all that is about an attribution, where none was asked for."""
        if "target_instance" in content:
            return super().unused(content, refined)
        kept = ("data", "image", "img_data", "fields", "format", "segment", "score_threshold", "precision")
        return [
            f"`{name}` was not used: it is about an attribution, which `target_instance` asks for"
            for name in content
            if name not in kept
        ]

    def sent_tensors(self) -> Sequence[str]:
        """Names of the tensors to send; without an attribution, masks alone."""
        sent = super().sent_tensors()
        return sent if self.target_instance is not None else [name for name in sent if name == "pred_masks"]

    def check(self, settings: Settings) -> Self:
        """Return the request if what it asks fits together; see :meth:`Request.check`."""
        if self.target == "mask":
            for name in ("target_class", "against"):
                if getattr(self, name) is not None:
                    raise RequestError(f"a mask has no classes; leave {name} out, or ask for target=class", name)
            if self.output != "logit":
                raise RequestError(
                    "the mean logit of a mask stands for no probability; leave output out, or ask for target=class",
                    "output",
                )
        if self.target_instance is None:
            if self.segment is False:
                raise RequestError("nothing is asked for: leave segment out, or send target_instance", "segment")
            of_an_attribution = {*TENSOR_FIELDS, *FIGURES}.difference(OF_OBJECTS)
            for name in self.fields or ():
                if name in of_an_attribution:
                    raise RequestError(f"there is no {name} without an attribution; send target_instance", "fields")
        return super().check(settings)
