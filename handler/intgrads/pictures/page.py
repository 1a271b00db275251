"""A picture in HTML: as it was drawn, and its objects in a table."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intgrads.formats.images import to_png
from intgrads.pictures.objects import Objects

LONGEST_SIDE = 640
"""Pixels of a picture's longer side on the page."""


def picture_section(shown: Sequence[tuple[NDArray[np.uint8], str]]) -> str:
    """Return pictures side by side, each as it was drawn, (H, W, 3), with what it shows."""
    return "\n".join(
        f'<figure><img alt="{title}" src="data:image/png;base64,{base64.b64encode(_small(drawn)).decode()}">'
        f"<figcaption>{title}</figcaption></figure>"
        for drawn, title in shown
    )


def _small(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return to_png(np.asarray(image))


def objects_section(found: Objects) -> str:
    """Return the objects of a picture as a table, likeliest first."""
    if not len(found):
        return f"<p>no object was found with a probability over {found.score_threshold:g}</p>\n"
    rows = []
    for k, one in enumerate(found.listed(with_masks=False)):
        box = ", ".join(f"{side:.0f}" for side in one["box"])
        cells = f"<td>{k}</td><td>{escape(one['label'])}</td>"
        cells += "".join(f'<td class="number">{cell}</td>' for cell in (f"{one['score']:.3f}", box, one["size"]))
        rows.append(f"<tr>{cells}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", "object", "probability", "box", "pixels"))
    return f'<table class="groups"><tr>{head}</tr>{"".join(rows)}</table>\n'
