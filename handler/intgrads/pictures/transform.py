"""From a picture's pixels to what a network takes: resized, cropped or padded, normalised. And the way back.

The one place where an image is resized and normalised, as timm's evaluation transforms do it, to the pixel. What is at
the network's size (maps, groups) and what is at the picture's (masks, label maps) go through the same :class:`View`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import ceil, floor
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from intgrads.pictures.decoding import Picture
from intgrads.settings import Resizing

Size = tuple[int, int]
Box = tuple[float, float, float, float]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

LARGEST_RESIZED = 2**25
"""Pixels of a resized picture at most, before it is cropped: beyond, the crop alone is resized, the same but for
rounding. A picture of 1 × 3000 whose shorter side becomes 256 would take 600 MB."""


@dataclass(frozen=True)
class View:
    """What a network sees of a picture: a window of the resized picture, the two axes scaled each by its own factor.

    Attributes
    ----------
    picture : (int, int)
        Height and width of the picture as it was sent.
    resized : (int, int)
        Those of the whole picture as it was resized.
    corner : (int, int)
        Row and column of the resized picture at which the window begins; negative where it begins in the padding.
    size : (int, int)
        Height and width of the window, the network's input.
    """

    picture: Size
    resized: Size
    corner: Size
    size: Size

    @property
    def seen(self) -> Box:
        """x0, y0, x1, y1 of the window in the sent picture's pixels; beyond the picture where there is padding.

        The network's input maps onto it linearly: its column u is at x0 + u (x1 - x0) / W in the picture, and so back.
        """
        (y0, y1), (x0, x1) = (
            (corner * sent / resized, (corner + side) * sent / resized)
            for corner, sent, resized, side in zip(self.corner, self.picture, self.resized, self.size, strict=True)
        )
        return x0, y0, x1, y1

    @property
    def visible(self) -> Box:
        """The part of `seen` that is picture: without padding."""
        x0, y0, x1, y1 = self.seen
        height, width = self.picture
        return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the network's input that are picture and no padding."""
        rows, columns = (
            slice(max(0, -corner), min(side, resized - corner))
            for corner, side, resized in zip(self.corner, self.size, self.resized, strict=True)
        )
        return rows, columns

    @property
    def crops(self) -> bool:
        """Whether the picture has parts that the network does not see."""
        height, width = self.picture
        return self.visible != (0, 0, width, height)

    @property
    def pads(self) -> bool:
        """Whether the network sees parts that are not in the picture."""
        return self.seen != self.visible

    @property
    def changes(self) -> bool:
        """Whether the network's input is any other than the picture."""
        return self.crops or self.pads or self.picture != self.size

    def told(self) -> str:
        """Return what was done to the picture, for the caller to read."""
        done = {"resized": self.picture != self.resized, "cropped": self.crops, "padded": self.pads}
        *first, last = [verb for verb, is_done in done.items() if is_done]
        how = f"{', '.join(first)} and {last}" if first else last
        (height, width), (own_height, own_width) = self.picture, self.size
        text = f"the picture was {how} from {width} × {height} to the network's {own_width} × {own_height}"
        if self.crops:
            x0, y0, x1, y1 = (f"{side:.1f}".removesuffix(".0") for side in self.visible)
            text += f": the network saw x {x0} to {x1} and y {y0} to {y1} of it; what lies outside was not seen"
        return text + ("; the padding carries no attribution" if self.pads else "")

    def cover(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return what part of each pixel of the network's input a mask covers.

        Parameters
        ----------
        mask : ndarray, (h, w), bool
            At the sent picture's size.

        Returns
        -------
        ndarray, (H, W), float32, 0 … 1
            0 in the padding.
        """
        covered = np.zeros(self.size, np.float32)
        part = covered[self.inside]
        image = Image.fromarray(mask.astype(np.float32))
        height, width = part.shape
        part[:] = np.asarray(_resized_part(image, self.visible, (width, height), Image.Resampling.BOX))
        return covered

    def place(self, size: Size) -> tuple[tuple[slice, slice], Box]:
        """Return where on a drawing of the whole picture the network's input lies.

        Parameters
        ----------
        size : (int, int)
            Height and width of the drawing.

        Returns
        -------
        slices of rows and columns
            Of the drawing, at least one of each. What lies outside was not seen.
        box
            x0, y0, x1, y1 of the network's input, the part of it that belongs there: all of it but the padding.
        """
        x0, y0, x1, y1 = self.seen
        rows, top, bottom = _place(y0, y1, self.picture[0], size[0], self.size[0])
        columns, left, right = _place(x0, x1, self.picture[1], size[1], self.size[1])
        return (rows, columns), (left, top, right, bottom)

    def enlarge(
        self, values: NDArray[Any], size: Size, resampling: Image.Resampling = Image.Resampling.BILINEAR
    ) -> NDArray[Any]:
        """Return values at the network's size, (h, w), float32 or bool, as they lie on what a drawing shows as seen.

        Parameters
        ----------
        values : ndarray, (h, w)
        size : (int, int)
            Height and width of the drawing.
        resampling : Image.Resampling
        """
        (rows, columns), box = self.place(size)
        side = columns.stop - columns.start, rows.stop - rows.start
        return np.asarray(Image.fromarray(values).resize(side, resampling, box=box))


def _place(start: float, end: float, sent: int, drawn: int, side: int) -> tuple[slice, float, float]:
    """Return, along one axis, the drawn pixels that were seen, and the part of the network's input shown on them."""
    scale = drawn / sent
    first = min(max(round(start * scale), 0), drawn - 1)
    last = min(max(round(end * scale), first + 1), drawn)
    top, bottom = (min(max((at / scale - start) / (end - start) * side, 0.0), float(side)) for at in (first, last))
    return slice(first, last), top, bottom


def _resized_part(image: Image.Image, box: Box, size: Size, method: Image.Resampling) -> Image.Image:
    """Return a rectangle of an image at a size (width, height), as if it were cut out of the whole image resized."""
    x0, y0, x1, y1 = box
    # Pillow holds the box in float32, too coarse far out in a long picture: what its filters reach is cut out first.
    reach_x, reach_y = (4 * max(1.0, length / side) + 2 for length, side in ((x1 - x0, size[0]), (y1 - y0, size[1])))
    left, top = max(0, floor(x0 - reach_x)), max(0, floor(y0 - reach_y))
    right, bottom = min(image.width, ceil(x1 + reach_x)), min(image.height, ceil(y1 + reach_y))
    part = image.crop((left, top, right, bottom))
    return part.resize(size, method, box=(x0 - left, y0 - top, x1 - left, y1 - top))


@dataclass(frozen=True)
class PictureSpec:
    """How a network wants its picture: the one place where an image is resized and normalised.

    Attributes
    ----------
    height, width : int
        Of the network's input.
    mean, std : tuple of 3 floats
        On the scale 0 … 1, RGB: the network sees (pixels / 255 - mean) / std.
    interpolation : str
        Pillow's filter for resizing.
    resizing : str
        ``crop``: resized with its proportions kept until it fills (height, width) / `crop_pct`, and the centre cut out.
        ``squash``: each side resized to that of (height, width) / `crop_pct`, and the centre cut out. ``pad``: resized
        with its proportions kept until it just fits in there, the centre cut out, and what is missing filled with the
        mean colour. These are timm's ``center``, ``squash`` and ``border``, to the pixel.
    crop_pct : float
        Over 0. With 1 nothing is cut off by ``squash`` and ``pad``, and by ``crop`` from the longer side alone. Over 1,
        as a few networks of timm have it, there is a black border.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = field(default=(0.5, 0.5, 0.5))
    std: tuple[float, float, float] = field(default=(0.5, 0.5, 0.5))
    interpolation: Interpolation = "bicubic"
    # Archives made before there were others state neither of these.
    resizing: Resizing = "squash"
    crop_pct: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input: (3, height, width)."""
        return 3, self.height, self.width

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.height, self.width

    kind = "picture"

    def stated(self) -> dict[str, Any]:
        """Return it as plain JSON, for an archive's manifest: what :class:`PictureSpec` takes."""
        return asdict(self)

    def files(self) -> dict[str, str]:
        """Return what of it lies in files of its own: nothing."""
        return {}

    def described(self) -> dict[str, Any]:
        """Return it as plain JSON, under the names of the settings."""
        return {
            "resize": self.resizing,
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
            "input_size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def view(self, picture: Size) -> View:
        """Return what the network sees of a picture of a height and width."""
        resized = self._resized(picture)
        # As torchvision's CenterCrop and timm's CenterCropOrPad round, which is not the same way up and down.
        top, left = (
            -((side - own) // 2) if side > own else round((own - side) / 2)
            for side, own in zip(self.size, resized, strict=True)
        )
        return View(picture, resized, (top, left), self.size)

    def _resized(self, picture: Size) -> Size:
        """Return the height and width of the whole picture resized, as timm's and torchvision's transforms do."""
        height, width = picture
        full_height, full_width = (max(1, floor(side / self.crop_pct)) for side in self.size)
        if self.resizing == "squash":
            return full_height, full_width
        if self.resizing == "crop" and full_height == full_width:
            longer = int(full_height * max(picture) / min(picture))
            return (full_height, longer) if height <= width else (longer, full_width)
        ratios = height / full_height, width / full_width
        ratio = max(ratios) if self.resizing == "pad" else min(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def resize(self, picture: Picture) -> NDArray[np.uint8]:
        """Return what the network sees of a picture, (height, width, 3), uint8."""
        view = self.view(picture.size)
        if not view.changes:
            return picture.pixels
        image = Image.fromarray(picture.pixels)
        method = Image.Resampling[self.interpolation.upper()]
        rows, columns = view.inside
        (top, left), (height, width) = view.corner, view.resized
        if height * width <= LARGEST_RESIZED:
            image = image.resize((width, height), method)
            image = image.crop((left + columns.start, top + rows.start, left + columns.stop, top + rows.stop))
        else:
            part = columns.stop - columns.start, rows.stop - rows.start
            image = _resized_part(image, view.visible, part, method)
        red, green, blue = (min(max(round(255 * part), 0), 255) for part in self.mean)
        paper = Image.new("RGB", (self.width, self.height), (red, green, blue) if self.resizing == "pad" else "black")
        paper.paste(image, (columns.start, rows.start))
        return np.asarray(paper)

    def normalise(self, pixels: NDArray[Any]) -> Tensor:
        """Return what the network takes, (3, height, width) float32, for pixels (height, width, 3) of 0 … 255."""
        if pixels.dtype == np.uint8:
            channels = zip(self._normalised, pixels.transpose(2, 0, 1), strict=True)
            return torch.from_numpy(np.stack([values[channel] for values, channel in channels]))
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        scaled = (pixels.astype(np.float64) / 255 - mean) / std
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32))

    @cached_property
    def _normalised(self) -> NDArray[np.float32]:
        """What each of a channel's 256 values becomes, (3, 256), as :meth:`normalise` computes it."""
        values = np.arange(256, dtype=np.float64)[None, :, None].repeat(3, 2)
        normalised: NDArray[np.float32] = self.normalise(values).numpy()[:, 0]
        return normalised
