"""Feature groups as pictures for people: each shaded by its value, coloured by its sign, the first of them numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from intgrads.answers.colours import ALIKE, FRAME, ranking, signed_colour
from intgrads.integral.groups import GroupValues
from intgrads.pictures.heat_map import drawing_scale, unseen
from intgrads.pictures.transform import View

Colour = tuple[int, int, int]


class Region(NamedTuple):
    """A part of a drawing, and what of it is a group."""

    around: tuple[slice, slice]
    inside: NDArray[np.bool_]


RANKS = 10
"""Groups that are numbered and listed."""

HEADING = "value of the group"
LINE = 18
"""Height of a line of the ranking."""


def group_map(
    pixels: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    labels: Sequence[str],
    values: GroupValues,
    view: View,
    *,
    framed: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Draw groups over their picture, and a ranking beside it.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
        The picture as it was sent.
    masks : ndarray, (G, h, w), bool
        At the network's size; drawn at the picture's, or as :func:`.heat_map.drawing_scale` says.
    labels : sequence of str, length G
    values : GroupValues
        Of these groups.
    view : View
        What the network saw of the picture.
    framed : ndarray, (h, w), bool, optional
        A part of the picture to draw a frame around.

    Returns
    -------
    ndarray, (H', W', 3), uint8
        The picture in grey; blue where a group raised the output and red where it lowered it, the deeper the larger its
        value. Where groups overlap the one of the larger value is seen. What the network did not see is hatched.
    """
    order = ranking(values)
    _, size = drawing_scale(pixels)
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BILINEAR))
    seen, _ = view.place(grey.shape)
    largest = values.values.max()
    shares = np.sign(values.idg) * values.values / (largest or 1.0)
    drawn = np.repeat(unseen(grey, 0, grey.shape)[..., None], 3, axis=2)
    drawn[seen] = grey[seen][..., None]
    edges = np.zeros(grey.shape, bool)

    def enlarged(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        whole = np.zeros(grey.shape, bool)
        whole[seen] = view.enlarge(mask, grey.shape, Image.Resampling.NEAREST)
        return whole

    large: dict[int, Region] = {}
    for k in reversed(order):
        mask = enlarged(masks[k])
        # Around the group alone: fifty groups of a large photo would take minutes otherwise.
        around = _around(mask)
        inside = mask[around]
        large[k] = Region(around, inside)
        tint = signed_colour(shares[k]).astype(np.float64)
        drawn[around][inside] = 0.45 * grey[around][inside][:, None] + 0.55 * tint
        edges[around] |= find_boundaries(inside, mode="inner")
    drawn[edges] = 0.7 * drawn[edges]
    if framed is not None:
        drawn[find_boundaries(enlarged(framed), mode="thick")] = FRAME
    image = Image.fromarray(drawn)
    entries: list[tuple[str, Colour]] = []
    for rank, k in enumerate(order[:RANKS], 1):
        alike = rank > 1 and not values.told_apart(order[rank - 2], k)
        red, green, blue = signed_colour(shares[k]).tolist()
        error = f" ± {values.values_error[k]:.1g}" if values.values_error[k] > 0 else ""
        place = f"{ALIKE} {rank}" if alike else f"{rank}"
        entries.append((f"{place}  {labels[k][:24]}  {values.values[k]:.3f}{error}", (red, green, blue)))
    return np.asarray(_numbered(image, order[:RANKS], large, entries))


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that a mask covers, and one more on each side."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)


def _numbered(
    image: Image.Image, order: Sequence[int], large: dict[int, Region], entries: Sequence[tuple[str, Colour]]
) -> Image.Image:
    """Write the number of each of the first groups where it is widest, and the list of them at the right."""
    font = ImageFont.load_default(size=13)
    width = 40 + int(max(font.getlength(text) for text in (HEADING, *(text for text, _ in entries))))
    sheet = Image.new("RGB", (image.width + width, max(image.height, LINE * (len(entries) + 2))), "white")
    sheet.paste(image)
    draw = ImageDraw.Draw(sheet)
    draw.text((image.width + 10, 4), HEADING, fill="black", font=font)
    for rank, (k, (text, colour)) in enumerate(zip(order, entries, strict=True), 1):
        (rows, columns), inside = large[k]
        depth = distance_transform_edt(np.pad(inside, 1))
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        at = (columns.start + column - 1.0, rows.start + row - 1.0)
        draw.text(at, str(rank), fill="black", font=font, anchor="mm", stroke_width=2, stroke_fill="white")
        top = LINE * rank + 8
        draw.rectangle((image.width + 10, top + 2, image.width + 22, top + 14), fill=colour, outline="grey")
        draw.text((image.width + 28, top), text, fill="black", font=font)
    return sheet
