"""The picture of a request on its way: decoded, its objects found, its groups made, its path's two ends prepared."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intgrads.baselines import DATA, Start, starts
from intgrads.errors import RequestError
from intgrads.integral.groups import GroupFamily
from intgrads.pictures.baselines import UNIFORM, image_baseline
from intgrads.pictures.decoding import Picture, array_picture, decode_label_map, decode_picture
from intgrads.pictures.groups import PictureGroups, callers_groups, regions, segments, superpixels
from intgrads.pictures.heat_map import drawing_scale
from intgrads.pictures.objects import Finder, Objects
from intgrads.pictures.request import REGIONS, ImageRequest
from intgrads.pictures.transform import PictureSpec, View
from intgrads.request import is_picture, json_in
from intgrads.settings import Settings
from intgrads.subject import Baseline, Clock

HOW_GROUPS = (
    "must be segments, superpixels, regions, a label map or masks; a PNG of one goes in base64, or in a form as a file"
)
HOW_BASELINES = "is not base64 of a picture; send a picture in base64, a list of pictures, or in a form one file"
HOW_PICTURES = "is not base64; send the file's bytes in base64, or the file itself as the form field `data`"


def read_picture(request: ImageRequest, settings: Settings) -> Picture:
    """Decode the picture that was sent.

    Raises
    ------
    RequestError
        If there is none, more than one, or it cannot be read.
    """
    given = [name for name in ("data", "image", "img_data") if getattr(request, name) is not None]
    if not given:
        raise RequestError(f"no picture was sent; {request.how_to_send}", request.input_field, kind="NoPicture")
    if len(given) > 1:
        raise RequestError(f"send one picture, not {' and '.join(given)}", given[1])
    limit = settings.max_picture_pixels
    if request.data is not None:
        return decode_picture(request.data, "data", limit)
    if request.image is not None:
        return decode_picture(_from_base64(request.image, "image", HOW_PICTURES), "image", limit)
    return array_picture(request.img_data, "img_data", limit)


def find_objects(
    finder: Finder | None, request: ImageRequest, picture: Picture, settings: Settings, in_time: Clock
) -> Objects | None:
    """Return the objects of a picture that the answer or its groups need; None where they need none, or none can be."""
    if finder is None or (request.segment is False and request.groups != "segments"):
        return None
    return finder.find(picture, threshold(request, settings), settings.max_answer_mb, in_time)


def threshold(request: ImageRequest, settings: Settings) -> float:
    """Return the probability over which an object counts as found."""
    return settings.score_threshold if request.score_threshold is None else request.score_threshold


def notes_of(picture: Picture, view: View) -> list[str]:
    """Return what was changed of a picture on its way to the network."""
    return [*picture.notes, *([view.told()] if view.changes else [])]


def about_drawing(request: ImageRequest, picture: Picture, marked: bool) -> list[str]:
    """Return notes on how the answer is drawn, which has groups or objects marked or not."""
    notes = []
    if request.style != "plain" and request.format != "png":
        notes.append("`style` was not used: it is about a png")
    scale, (width, height) = drawing_scale(picture.pixels)
    if (marked or request.style != "plain") and scale < 1 and request.format == "png":
        notes.append(f"what is drawn with marks or a scale is {width} x {height} pixels, smaller than the picture")
    return notes


def make_family(
    request: ImageRequest, pixels: NDArray[np.uint8], view: View, settings: Settings, found: Objects | None
) -> tuple[GroupFamily | None, list[str]]:
    """Return the groups that were asked for and the whole picture, at the network's size, and notes on them.

    Parameters
    ----------
    request : ImageRequest
    pixels : ndarray, (H, W, 3), uint8
        What the network sees.
    view : View
        What that is of the sent picture.
    settings : Settings
    found : Objects or None
        Of the sent picture.

    Raises
    ------
    RequestError
        If there are no such groups.
    """
    groups = _groups(request, pixels, view, settings, found)
    return (None, []) if groups is None else (_family(groups, request.group_pixels), groups.notes)


def _groups(
    request: ImageRequest, pixels: NDArray[np.uint8], view: View, settings: Settings, found: Objects | None
) -> PictureGroups | None:
    groups = request.groups
    if groups is None:
        return None
    if groups == "superpixels":
        return superpixels(pixels, request.superpixel_method, request.n_superpixels, view.inside)
    if groups == REGIONS:
        return regions(pixels, view.inside)
    if groups == "segments":
        if found is None:
            raise RequestError("this archive has no TensorMask to find segments; ask for superpixels", "groups")
        return segments(found.masks, found.labels, view)
    if isinstance(groups, str) and groups.lstrip()[:1] == "[":
        groups = json_in(groups, "groups")
    elif isinstance(groups, str | bytes):
        if not is_picture(groups):
            groups = _from_base64(groups, "groups", HOW_GROUPS)
        groups = decode_label_map(groups, "groups", settings.max_picture_pixels)
    return callers_groups(groups, view)


def _family(groups: PictureGroups, pixels: bool) -> GroupFamily:
    """Return groups and the whole picture, with or without each single pixel."""
    masks = np.concatenate([groups.masks, np.ones_like(groups.masks[:1])])
    return GroupFamily(
        kinds=[groups.kind] * len(groups.labels) + ["picture"],
        labels=[*groups.labels, "the whole picture"],
        members=masks.reshape(len(masks), -1),
        units=pixels,
        places=masks,
        parents=groups.parents,
    )


def picture_starts(request: ImageRequest, settings: Settings, examples: Sequence[Path]) -> list[Start]:
    """Return where the paths of a request start; those that are pictures, as what decodes them.

    Raises
    ------
    RequestError
        If there are too many.
    """
    found = starts(
        request.baseline,
        request.baseline_data,
        request.seed,
        random=(UNIFORM,),
        uniform=UNIFORM,
        examples=examples,
        most=settings.max_baselines,
    )
    return [
        start
        if start.content is None
        else replace(start, content=partial(_own_picture, start.content, settings.max_picture_pixels))
        for start in found
    ]


def _own_picture(content: Any, limit: int) -> Picture:
    if isinstance(content, Path):
        return decode_picture(content.read_bytes(), "baseline", limit)
    if isinstance(content, bytes):
        return decode_picture(content, DATA, limit)
    if isinstance(content, str):
        return decode_picture(_from_base64(content, DATA, HOW_BASELINES), DATA, limit)
    return array_picture(content, DATA, limit)


def _own_pixels(decode: Callable[[], Picture], spec: PictureSpec) -> tuple[NDArray[np.uint8], list[str]]:
    """Return a picture that is a baseline at the network's size, and notes on what was changed of it."""
    own = decode()
    return spec.resize(own), notes_of(own, spec.view(own.size))


def ends(
    found: Sequence[Start], pixels: NDArray[np.uint8], spec: PictureSpec, view: View, in_time: Clock
) -> tuple[Tensor, tuple[Baseline, ...], list[str]]:
    """Return what the network sees of a picture, (H, W, 3), and its baselines as it takes them, (3, H, W), and notes.

    Padding is the same in all and carries no attribution: a baseline is one of the picture, and is made of the
    picture alone. A picture that is a baseline comes to the network's size as the picture itself does; it is decoded
    when its turn comes, since dozens of large ones have no room beside each other.

    Raises
    ------
    RequestError
        If a picture that is a baseline cannot be decoded, or the time is over.
    """
    x = spec.normalise(pixels)
    baselines, notes = [], []
    for start in found:
        if start.content is not None:
            in_time()
            own, about = _own_pixels(start.content, spec)
            point = spec.normalise(own[view.inside])
            notes += [f"{start.name}: {note}" for note in about]
        else:
            made = image_baseline(start.name, pixels[view.inside], start.seed or 0)  # type: ignore[arg-type]
            point = torch.zeros(()) if made is None else spec.normalise(made)
        baseline = x.clone()
        baseline[:, *view.inside] = point
        baselines.append(Baseline(start.name, start.seed, baseline))
    return x, tuple(baselines), notes


def by_pixel(features: Tensor) -> Tensor:
    """Return (3, H, W) as pixels and their channels, (H·W, 3)."""
    return features.flatten(1).T


def _from_base64(text: str | bytes, field: str, remedy: str) -> bytes:
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if raw.startswith(b"data:"):
        raw = raw.partition(b",")[2]
    try:
        decoded = base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise RequestError(remedy, field)
    return decoded
