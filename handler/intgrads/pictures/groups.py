"""Groups of pixels: superpixels, instance masks, or the caller's own, brought to the network's size.

Superpixels are scikit-image's: SLIC (Achanta et al., IEEE TPAMI 2012) or compact watersheds (Neubert and Protzel, ICPR
2014).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.filters import sobel
from skimage.segmentation import slic, watershed

from intgrads.errors import RequestError
from intgrads.pictures.regions import region_tree
from intgrads.pictures.request import MOST_GROUPS, SuperpixelMethod
from intgrads.pictures.run_lengths import decode_mask
from intgrads.pictures.transform import View

Masks = NDArray[np.bool_]

MOST_PIXELS = 10**9
"""Of all masks of a request together: resizing them takes about 15 s."""

COMPACTNESS = 1e-3
"""Of a watershed: little enough to follow edges, enough that flat regions are shared out evenly."""


@dataclass(frozen=True)
class PictureGroups:
    """Groups of a picture's pixels.

    Attributes
    ----------
    kind : str
        Of each of them: ``superpixel``, ``segment`` or ``mask``.
    labels : list of str
    masks : ndarray, (G, H, W), bool
        At the network's size; none is empty.
    notes : list of str
        What was changed on the way.
    parents : tuple of int or None
        Where they are a tree: the group that each is a part of; G for the whole picture.
    """

    kind: str
    labels: list[str]
    masks: Masks
    notes: list[str]
    parents: tuple[int, ...] | None = None


def superpixels(
    pixels: NDArray[np.uint8],
    method: SuperpixelMethod,
    count: int | None,
    inside: tuple[slice, slice] = (slice(None), slice(None)),
) -> PictureGroups:
    """Cut a picture into superpixels.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        What the network sees.
    method : str
    count : int or None
        About how many; default one for a thousand pixels, 24 at least.
    inside : slices of rows and columns
        Where there is picture; padding belongs to no superpixel.
    """
    size, pixels = pixels.shape[:2], pixels[inside]
    count = count or max(24, pixels.shape[0] * pixels.shape[1] // 1000)
    if method == "slic":
        cut = slic(pixels, n_segments=count, start_label=1, channel_axis=-1)
    else:
        cut = watershed(sobel(rgb2gray(pixels)), markers=count, compactness=COMPACTNESS)
    values = np.unique(cut)
    notes = []
    if 2 * len(values) <= count:
        notes.append(f"about {count} superpixels were asked for, and {method} made {len(values)}")
    labels = [f"superpixel {value}" for value in values.tolist()]
    masks = np.zeros((len(values), *size), bool)
    masks[:, *inside] = cut == values[:, None, None]
    return PictureGroups("superpixel", labels, masks, notes)


def regions(pixels: NDArray[np.uint8], inside: tuple[slice, slice]) -> PictureGroups:
    """Cut a picture, (H, W, 3), into nested regions at all scales, where there is picture."""
    tree = region_tree(pixels[inside])
    masks = np.zeros((len(tree.masks), *pixels.shape[:2]), bool)
    masks[:, *inside] = tree.masks
    labels = [f"region {k + 1}" for k in range(len(masks))]
    return PictureGroups("region", labels, masks, [], tuple(tree.parents))


def segments(masks: Masks, labels: list[str], view: View) -> PictureGroups:
    """Bring instance masks (N, h, w) of the sent picture to what the network sees of it, (N', H, W).

    Raises
    ------
    RequestError
        If there is none, or the network sees none of them.
    """
    kept = [k for k in range(len(masks)) if masks[k].any()]
    if not kept:
        raise RequestError(
            "no object was found whose mask could be a group; lower `score_threshold`, or ask for superpixels",
            "groups",
            kind="NoSegments",
        )
    return _resized("segment", [labels[k] for k in kept], masks[kept], view)


def callers_groups(groups: Any, view: View) -> PictureGroups:
    """Read the caller's own groups: a label map, or masks as run lengths.

    Parameters
    ----------
    groups : list, ndarray or object
        An (H, W) label map, each value but 0 a group; or a list of ``{"size": [H, W], "counts": …}`` as COCO has
        them, which may overlap, each with an optional ``label``.
    view : View
        What the network sees of the sent picture. Groups of the picture's size are cropped, padded and resized as it
        is; those of the network's size are taken as they are. Where the two sizes are equal the groups are the
        picture's, and go with it.

    Raises
    ------
    RequestError
        If they are none of these, of another size, there is none or too many, or the network sees none of them.
    """
    picture, size = view.picture, view.size
    if isinstance(groups, list) and groups and all(isinstance(one, dict) for one in groups):
        _check_number(len(groups), sum(prod(size if one.get("size") == [*size] else picture) for one in groups))
        labels = [_label(one.get("label"), f"mask {k}") for k, one in enumerate(groups)]
        masks = (decode_mask(one, f"mask {k}", picture, size) for k, one in enumerate(groups))
        return _resized("mask", labels, masks, view)
    found = _label_map(groups, picture, size)
    values = [int(value) for value in np.unique(found) if value != 0]
    _check_number(len(values), len(values) * found.size)
    return _resized("mask", [f"label {value}" for value in values], (found == value for value in values), view)


def _label(given: object, default: str) -> str:
    """Return a caller's label, without what UTF-8 cannot carry."""
    return given.encode("utf-8", "replace").decode()[:100] if isinstance(given, str) else default


def _label_map(groups: Any, picture: tuple[int, int], size: tuple[int, int]) -> NDArray[np.int64]:
    try:
        found = np.asarray(groups)
    except ValueError:
        found = np.empty(0)
    if found.ndim != 2 or found.dtype.kind not in "iu" or found.max(initial=0) >= 2**63:
        raise RequestError(
            "must be segments, superpixels, regions, a label map (H, W) of whole numbers, a PNG of one in base64 (in a "
            'form: the file), or a list of masks {"size": [H, W], "counts": [...]} as COCO has them',
            "groups",
        )
    if found.shape not in (picture, size):
        raise RequestError(
            f"the label map is {found.shape[0]} × {found.shape[1]}; send it in the picture's size, "
            f"{picture[0]} × {picture[1]}, or the network's, {size[0]} × {size[1]}",
            "groups",
        )
    return found.astype(np.int64)


def _check_number(count: int, pixels: int) -> None:
    if not 1 <= count <= MOST_GROUPS:
        raise RequestError(f"must be 1 to {MOST_GROUPS} groups, got {count}; 0 in a label map is no group", "groups")
    if pixels > MOST_PIXELS:
        raise RequestError(
            f"the {count} groups have {pixels // 10**6} megapixels, more than can be resized in time; send them in the "
            "network's size, or fewer",
            "groups",
            kind="GroupsTooLarge",
        )


def _resized(kind: str, labels: list[str], masks: Iterable[Masks], view: View) -> PictureGroups:
    """Bring masks to what the network sees: a pixel belongs to what covers half of it; none is lost for being small.

    One after the other, so that those of a large picture are not held together.
    """
    resized: list[Masks] = []
    kept: list[str] = []
    small: list[str] = []
    outside: list[str] = []
    moved = False
    for label, mask in zip(labels, masks, strict=True):
        if not mask.any():
            raise RequestError(f"{label} is empty; leave it out", "groups")
        covered = mask
        if mask.shape == view.picture and view.changes:
            moved = True
            cover = view.cover(mask)
            if not cover.any():
                outside.append(label)
                continue
            covered = cover >= 0.5
            if not covered.any():
                covered = cover == cover.max()
                small.append(label)
        resized.append(covered)
        kept.append(label)
    (height, width), (own_height, own_width) = view.picture, view.size
    if not kept:
        x0, y0, x1, y1 = view.visible
        raise RequestError(
            f"the network sees none of the groups: of the picture it sees x {x0:.1f} to {x1:.1f} and y {y0:.1f} to "
            f"{y1:.1f} alone; send groups in there, or make the archive with --set resize=pad",
            "groups",
            kind="GroupsNotSeen",
        )
    notes = []
    if moved:
        how = "resized, and cropped as the picture was," if view.crops else "resized"
        notes.append(f"the groups were {how} from {width} × {height} to the network's {own_width} × {own_height}")
    if outside:
        notes.append(f"outside of what the network saw, and left out: {', '.join(outside)}")
    if small:
        names = ", ".join(small)
        notes.append(f"too small to cover half a pixel of the network's input, and given what they cover most: {names}")
    return PictureGroups(kind, kept, np.stack(resized), notes)
