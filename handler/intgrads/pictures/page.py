"""A picture on a page: itself, its maps, the outlines of its groups and objects, and where each of them lies on it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from intgrads.answers.page import spread_sentence
from intgrads.integral.attribution import Attribution
from intgrads.integral.drawing import CLIP_PERCENTILE
from intgrads.integral.expectation import spread
from intgrads.integral.groups import GroupFamily
from intgrads.pages.exhibit import Exhibit
from intgrads.pages.outlines import outline
from intgrads.pages.packed import packed
from intgrads.pictures.heat_map import SMOOTHING
from intgrads.pictures.objects import Objects
from intgrads.pictures.transform import View

LONGEST_SIDE = 1024
"""Pixels of the longer side of the picture that a page holds."""

EXACT = 128 * 128
"""Pixels of a picture up to which it is held as PNG, each pixel as it is, and not as JPEG."""

DISPLAYED = 400
"""Pixels of a screen that the longer side takes."""

THINNEST = 8
"""Pixels of a screen that the shorter side takes at least."""

FEW_PIXELS = 64
"""Pixels of the longer side of a map up to which each is drawn as a square."""


def picture_exhibit(
    pixels: NDArray[np.uint8],
    view: View,
    attribution: Attribution | None,
    family: GroupFamily | None,
    kept: Sequence[Sequence[int]],
    *,
    found: Objects | None,
    of_object: bool,
) -> Exhibit:
    """Return what a page shows of a picture.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent.
    view : View
        What the network saw of it.
    attribution : Attribution or None
    family : GroupFamily or None
        The groups that were asked for.
    kept : sequence of sequence of int
        For each target the regions among them that keep a share of the output.
    found : Objects or None
        The objects to show.
    of_object : bool
        Whether the attribution of a single object can be asked for.
    """
    height, width = pixels.shape[:2]
    source, held = _held(pixels)
    scale = DISPLAYED / max(height, width)
    x0, y0, x1, y1 = view.seen
    rows, columns = view.size
    onto_picture = f"translate({x0:.6g} {y0:.6g}) scale({(x1 - x0) / columns:.6g} {(y1 - y0) / rows:.6g})"
    shown = {
        "source": source,
        "displayed": [max(THINNEST, round(side * scale)) for side in (width, height)],
        "size": [width, height],
        "held": held,
        "pixelated": max(height, width) <= FEW_PIXELS,
        "onto_picture": onto_picture,
        "outlines": [] if family is None else [outline(family.places[k]) for k in family.drawn],
        "framed": [_framed(family, of_target) for of_target in kept],
        "objects": None if found is None else _objects(found, of_object),
        "crops": view.crops,
        "spread": _spread_sentences(attribution),
    }
    data: dict[str, Any] = {
        "kind": "picture",
        "size": [width, height],
        "seen": [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
        "shape": [rows, columns],
        "smoothing": SMOOTHING,
        "percentile": CLIP_PERCENTILE,
        "maps": _maps(attribution),
    }
    return Exhibit("picture.html", shown, data)


def _framed(family: GroupFamily | None, kept: Sequence[int]) -> str:
    if family is None or not kept:
        return ""
    return outline(np.any(family.places[list(kept)], axis=0))


def _maps(attribution: Attribution | None) -> list[dict[str, Any]]:
    """Return the maps of each target, summed over channels: the attribution, and where it is known how far it is off.

    Several baselines are told by their spread.
    """
    if attribution is None:
        return []
    own = attribution.integrated_gradients.double().sum(1).numpy()
    apart = spread(attribution, _of_pixels)
    return [
        {"attribution": packed(own[t])} | ({} if apart is None else {"spread": packed(apart[t])})
        for t in range(len(own))
    ]


def _spread_sentences(attribution: Attribution | None) -> list[str]:
    apart = None if attribution is None else spread(attribution, _of_pixels)
    if attribution is None or apart is None:
        return []
    means = _of_pixels(attribution.integrated_gradients)
    return [spread_sentence("map", "pixel", *of_target) for of_target in zip(apart, means, strict=True)]


def _held(pixels: NDArray[np.uint8]) -> tuple[str, list[int]]:
    """Return a picture as the source of an image, and the width and height that it has there."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    kind = "png" if pixels[..., 0].size <= EXACT else "jpeg"
    image.save(buffer, kind, quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", list(image.size)


def _objects(found: Objects, of_object: bool) -> dict[str, Any]:
    """Return objects as a page lists them, likeliest first, their masks outlined on the picture."""
    height, width = found.masks.shape[1:] if len(found) else (1, 1)
    step = max(1, -(-max(height, width) // LONGEST_SIDE))
    rows = [
        {
            "label": one["label"],
            "score": f"{one['score']:.3f}",
            "box": ", ".join(f"{side:.0f}" for side in one["box"]),
            "size": one["size"],
            "outline": outline(found.masks[k, ::step, ::step]),
            "ask": f"target_instance={k}" if of_object else "groups=segments",
        }
        for k, one in enumerate(found.listed(with_masks=False))
    ]
    return {"rows": rows, "scale": step, "threshold": f"{found.score_threshold:g}"}


def _of_pixels(maps: Tensor) -> NDArray[np.float64]:
    """Return maps (T, 3, H, W) as sums over each pixel's channels, (T, H · W)."""
    sums: NDArray[np.float64] = maps.double().sum(1).flatten(1).numpy()
    return sums
