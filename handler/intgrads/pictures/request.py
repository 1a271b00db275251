"""What may be asked about a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field

from intgrads.baselines import DATA
from intgrads.errors import RequestError
from intgrads.pictures.baselines import IMAGE_BASELINES, ImageBaseline
from intgrads.pictures.styles import Style
from intgrads.request import (
    BASELINE,
    FIELDS,
    Figure,
    Request,
    WholeNumber,
    another_kind,
    is_picture,
    json_object,
    names_of_baselines,
    no_bool,
)
from intgrads.settings import Settings

SuperpixelMethod = Literal["slic", "watershed"]

REGIONS = "regions"
"""Groups that are a tree."""

MOST_GROUPS = 1000
"""Of a picture, single pixels aside."""

TensorField = Literal[
    "integrated_grads",
    "attribution_error_map",
    "baseline_spread",
    "integrated_directional_grads",
    "step_sizes",
    "intermediates",
    "alphas",
    "output",
    "baseline_output",
    "group_masks",
    "pred_masks",
]
TENSOR_FIELDS: tuple[str, ...] = get_args(TensorField)

PictureFigure = Literal[Figure, "scores", "pred_classes", "pred_boxes"]
FIGURES: tuple[str, ...] = get_args(PictureFigure)


class ImageRequest(Request):
    """A request for attributions of a picture."""

    takes = "pictures"
    how_to_send = (
        "send a picture as `curl -T cat.jpg -H 'Content-Type: image/jpeg'`, as a form `curl -F data=@cat.jpg`, or as "
        "JSON with `img_data` or `image` and `-H 'Content-Type: application/json'`"
    )
    input_field = "img_data"
    integral = "integrated_grads"
    gradients = "integrated_directional_grads"
    tensors = TENSOR_FIELDS
    figures = FIGURES

    data: bytes | None = Field(None, description="the bytes of a JPEG, PNG, WebP or BMP (forms only)")
    image: str | bytes | None = Field(None, description="a JPEG, PNG, WebP or BMP in base64")
    img_data: Any = Field(None, description="an array (H, W, 3) in RGB or (3, H, W) in BGR, whole numbers 0 … 255")
    baseline: Annotated[ImageBaseline | str | list[str], BeforeValidator(names_of_baselines(IMAGE_BASELINES))] = Field(
        "black", description=BASELINE
    )
    baseline_data: Any = Field(
        None,
        description="a picture of the caller's own to start from, in base64 or in a form as a file; or a list of "
        "pictures, each in base64 or as `img_data`; default none",
    )
    fields: list[TensorField | PictureFigure] | None = Field(None, description=FIELDS)
    segment: bool | None = Field(
        None, description="whether to find objects and their masks; default true where the archive has a TensorMask"
    )
    score_threshold: Annotated[float | None, BeforeValidator(no_bool)] = Field(
        None, ge=0, lt=1, description="probability over which an object counts as found, 0 to 1"
    )
    groups: Any = Field(
        None,
        description="segments, superpixels, regions (nested ones), a label map (H, W) as whole numbers or a PNG, or a "
        "list of masks in COCO's run lengths; default none",
    )
    kept_share: Annotated[float, BeforeValidator(no_bool)] = Field(
        0.8, gt=0, le=1, description="of regions: the part of f(x) − f(x′) that the smallest set of them is to keep"
    )
    superpixel_method: SuperpixelMethod = Field("slic", description="how superpixels are cut")
    n_superpixels: WholeNumber | None = Field(
        None, ge=1, le=MOST_GROUPS, description="about how many superpixels; default one for a thousand pixels"
    )
    group_pixels: bool = Field(True, description="whether each pixel is a group of the family too")
    style: Style = Field(
        "plain",
        description="of a png without groups: the magnitude over the picture (plain); with its signs, a title and a "
        "scale over the picture (overlay) or alone (signed); or the least area that carries half of it (contour)",
    )

    @classmethod
    def from_bytes(cls, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the fields of a body that is a picture, or JSON."""
        if is_picture(body):
            return {"data": body}
        if "json" in content_type or body.lstrip()[:1] in (b"{", b"["):
            return json_object(body, cls)
        if content_type.startswith("text/plain"):
            raise another_kind(cls, None)
        return {"data": body}

    @classmethod
    def is_file(cls, name: str, value: bytes) -> bool:
        """Whether a part of a form is a file; see :meth:`Request.is_file`."""
        # Base64 is plain ASCII, and no picture is.
        own = name == DATA and not value.isascii()
        return own or name in ("data", "image") or (name in ("groups", DATA) and is_picture(value))

    @classmethod
    def unused(cls, content: Mapping[str, Any], refined: bool) -> list[str]:
        """Return notes on what was sent and is not used; see :meth:`Request.unused`."""
        notes = super().unused(content, refined)
        if content.get("groups") != "superpixels":
            about = ("n_superpixels", "superpixel_method")
            notes += [f"`{name}` was not used: it is about superpixels" for name in about if name in content]
        if "style" in content and "groups" in content:
            notes.append("`style` was not used: groups are drawn in their own way")
        if content.get("groups") != REGIONS and "kept_share" in content:
            notes.append("`kept_share` was not used: it is about regions")
        return notes

    def check(self, settings: Settings) -> Self:
        """Return the request if what it asks fits together; see :meth:`Request.check`."""
        if self.format == "png" and isinstance(self.target_class, list) and len(self.target_class) > 1:
            raise RequestError("a png shows one target; send one, or another format", "target_class")
        if self.groups is None and "group_masks" in (self.fields or ()):
            raise RequestError("there are no group_masks without `groups`", "fields")
        if self.segment is False and "pred_masks" in (self.fields or ()):
            raise RequestError("there are no pred_masks with segment=false", "fields")
        return super().check(settings)
