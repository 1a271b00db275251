"""The kinds of input, one folder each. A new one is a folder and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intgrads.detections.archived import open_detector, write_tensormask
from intgrads.detections.request import DetectionRequest
from intgrads.networks.family import Order
from intgrads.pictures.archived import check_picture, open_pictures
from intgrads.pictures.request import ImageRequest
from intgrads.request import Request
from intgrads.settings import Settings
from intgrads.stored import Stored
from intgrads.subject import Classifier
from intgrads.texts.archived import check_text_file, open_texts
from intgrads.texts.request import TextRequest


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes
    ----------
    name : str
        Of its part of an archive's manifest.
    request : type
        What is asked of it.
    open : callable
        From an archive, and what a kind after it in :data:`KINDS` has opened of the same archive (None where there is
        none), to what the service is given.
    write : callable, or None
        Writes what an archive holds of it beside what a family of networks does, and returns its part of the manifest;
        empty where it has no part in this archive.
    check_example : callable
        From the bytes of a file, and the archive's settings, to a RequestError where they are no input of this kind.
    """

    name: str
    request: type[Request]
    open: Callable[[Stored, Any], Classifier]
    check_example: Callable[[bytes, Settings], object]
    write: Callable[[Order, Path], dict[str, Any]] | None = None


KINDS = (
    Kind("picture", ImageRequest, open_pictures, check_picture),
    Kind("text", TextRequest, open_texts, check_text_file),
    Kind("tensormask", DetectionRequest, open_detector, check_picture, write_tensormask),
)
"""An archive that holds several is served as the first of them, with those after it beside."""
