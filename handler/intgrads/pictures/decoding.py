"""Pictures: from what a caller sends to RGB pixels.

Decoding refuses rather than guesses: a picture that would have to be altered in a way the caller cannot see in the
answer is an error, and every alteration that is made is reported.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from intgrads.errors import RequestError
from intgrads.integral.batches import is_out_of_memory

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
NAMES = {FORMATS: "JPEG, PNG, WebP or BMP", ("PNG",): "PNG"}
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)
"""What Pillow's four decoders raise on damaged files (struct.error and zlib.error come on top)."""

_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes
    ----------
    pixels : ndarray, (H, W, 3), uint8
        RGB.
    notes : tuple of str
        What was changed on the way, for the caller to read.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]


def decode_picture(data: bytes, field: str | None, max_pixels: int) -> Picture:
    """Decode the bytes of a JPEG, PNG, WebP or BMP.

    Parameters
    ----------
    data : bytes
    field : str or None
        Field of the request that they came in, for the error.
    max_pixels : int
        Most pixels that a picture may have; checked before it is unpacked.

    Raises
    ------
    RequestError
        415 where the bytes are no such picture, 413 where it is too large, 400 where it is damaged.
    """
    picture: Picture = _decode(data, field, max_pixels, FORMATS, _to_rgb)
    if data.startswith(b"\x89PNG") and data[24:25] == b"\x10" and not any("16-bit" in note for note in picture.notes):
        # The header's bit depth: Pillow reads 16-bit colour as 8-bit without a word.
        return Picture(picture.pixels, (*picture.notes, "16-bit colours were cut to 8 bits"))
    return picture


def decode_label_map(data: bytes, field: str | None, max_pixels: int) -> NDArray[np.int64]:
    """Decode the bytes of a PNG whose grey values, palette indices or colours are labels.

    Returns
    -------
    ndarray, (H, W), int64
        The grey value or index of each pixel, or a number for its colour: 65536 R + 256 G + B.

    Raises
    ------
    RequestError
        As :func:`decode_picture`; other formats than PNG change colours.
    """
    labels: NDArray[np.int64] = _decode(data, field, max_pixels, ("PNG",), _to_labels)
    return labels


def _to_labels(image: Image.Image) -> NDArray[np.int64]:
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode in ("1", "L", "P", *_SIXTEEN_BIT):
        return np.asarray(image).astype(np.int64)
    colours: NDArray[np.int64] = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array([65536, 256, 1])
    return colours


def _decode(
    data: bytes, field: str | None, max_pixels: int, formats: tuple[str, ...], convert: Callable[[Image.Image], Any]
) -> Any:
    with warnings.catch_warnings():
        # Pillow's own bomb limit is replaced by max_pixels, and what it finds odd in EXIF would only fill the log.
        warnings.simplefilter("ignore")
        image = _open(data, field, max_pixels, formats)
        try:
            image.load()
            return convert(image)
        except (*DECODING_ERRORS, struct.error, zlib.error) as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from None
            raise _damaged(error, field) from None


def _open(data: bytes, field: str | None, max_pixels: int, formats: tuple[str, ...]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        a_name = field == "data" and len(data) < 300 and data.isascii()
        raise RequestError(
            f"these bytes are not a {NAMES[formats]} picture; convert the picture to one"
            + (" (curl sends a file, not its name, with an @: data=@FILE)" if a_name else ""),
            field,
            kind="NotAPicture",
        ) from None
    except Image.DecompressionBombError:
        raise _too_large("a picture of over 178 megapixels", field, max_pixels) from None
    except (*DECODING_ERRORS, struct.error, zlib.error) as error:
        raise _damaged(error, field) from None

    if image.width * image.height > max_pixels:
        raise _too_large(f"{image.width} × {image.height} pixels", field, max_pixels)
    return image


def _too_large(what: str, field: str | None, max_pixels: int) -> RequestError:
    return RequestError(
        f"{what} are more than the {max_pixels} this archive takes; send a smaller picture",
        field,
        kind="PictureTooLarge",
    )


def _damaged(error: Exception, field: str | None) -> RequestError:
    return RequestError(
        f"the picture is damaged or cut short ({error}); send the whole file again",
        field,
        kind="DamagedPicture",
    )


def _to_rgb(image: Image.Image) -> Picture:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the picture has {frames} frames; only the first was used")
    if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        notes.append("the picture was turned upright as its EXIF orientation says")
        image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT:
        notes.append("16-bit grey values were scaled to 8 bits")
        grey = np.clip(np.rint(np.asarray(image, np.float64) / 257), 0, 255).astype(np.uint8)
        return Picture(np.repeat(grey[..., None], 3, axis=2), tuple(notes))
    if image.mode == "CMYK":
        notes.append("CMYK colours were converted to RGB without a colour profile")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            notes.append("transparent parts were laid on white")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
    return Picture(np.asarray(image.convert("RGB")), tuple(notes))


def array_picture(array: Any, field: str, max_pixels: int) -> Picture:
    """Take a nested list of pixel values as a picture.

    Parameters
    ----------
    array : nested list
        (H, W, 3) RGB or (3, H, W) BGR, whole numbers 0 … 255.
    field : str
        Field of the request that it came in, for the error.
    max_pixels : int
        Most pixels that a picture may have.

    Raises
    ------
    RequestError
        If it is ragged, of another shape, ambiguous, or holds other values.
    """
    in_base64 = "goes into `image` as base64" if field == "img_data" else "goes there as base64"
    if not isinstance(array, list):
        raise RequestError(f"must be an array (H, W, 3) in RGB or (3, H, W) in BGR; a picture file {in_base64}", field)
    kinds = _kinds(array)
    if kinds <= {list}:
        raise RequestError("the array is not of three axes; send (H, W, 3) in RGB or (3, H, W) in BGR", field)
    ragged = RequestError("the array is ragged; send every row with the same number of pixels", field)
    if list in kinds:
        raise ragged
    if not kinds <= {int, float}:
        raise RequestError(
            "the array must hold numbers only, whole and from 0 to 255 (no text, null, true or false)", field
        )
    try:
        values = np.array(array)
    except ValueError:
        raise ragged from None
    shape = values.shape
    if values.ndim != 3 or 0 in shape or 3 not in (shape[0], shape[2]):
        raise RequestError(
            f"the array has shape {shape}; send (H, W, 3) in RGB or (3, H, W) in BGR"
            + (" (repeat the grey value for each channel)" if values.ndim == 2 else "")
            + (" (leave the alpha channel out)" if values.ndim == 3 and 4 in (shape[0], shape[2]) else ""),
            field,
        )
    if shape[0] == shape[2] == 3:
        raise RequestError(
            f"an array of shape {shape} can be RGB or BGR; a picture this small is sent as a file, which {in_base64}",
            field,
        )
    if values.size // 3 > max_pixels:
        raise _too_large(f"{values.size // 3} pixels", field, max_pixels)
    # An integer of more than 64 bits makes an array of objects.
    if values.dtype == object or not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
        raise RequestError("the array holds values outside 0 … 255; send 8-bit pixel values", field)
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise RequestError(
            "the array holds fractions; send whole pixel values 0 … 255 (multiply by 255 if yours end at 1)", field
        )
    pixels = values.astype(np.uint8)
    if shape[2] != 3:
        pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0)[..., ::-1])
    return Picture(pixels)


def _kinds(array: list[Any]) -> set[type]:
    """Return the types of an array's third axis, or of what ends before it.

    Looked at before NumPy sees them: it would take true for 1, and one long text among many short ones would make it
    reserve the longest for each.
    """
    kinds: set[type] = set()
    for row in array:
        if not isinstance(row, list):
            kinds.add(type(row))
            continue
        for pixel in row:
            if isinstance(pixel, list):
                kinds.update(map(type, pixel))
            else:
                kinds.add(type(pixel))
    return kinds
