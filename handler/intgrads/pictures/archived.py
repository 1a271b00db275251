"""An archive of a network of pictures, opened."""

from __future__ import annotations

from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import decode_picture
from intgrads.pictures.objects import Finder
from intgrads.pictures.transform import PictureSpec
from intgrads.settings import Settings
from intgrads.speed.preparation import prepare
from intgrads.stored import Stored


def open_pictures(stored: Stored, finder: Finder | None) -> ImageClassifier:
    """Return the classifier of an archive, prepared to run on its device, with what finds objects on its pictures."""
    picture = PictureSpec(**stored.manifest["picture"])
    module = prepare(stored.build(), picture.shape, stored.device, stored.choices)
    return ImageClassifier(module, picture, stored.labels, finder, stored.outputs, stored.examples)


def check_picture(data: bytes, settings: Settings) -> None:
    """Raise RequestError where the bytes of a file are no picture that this archive takes."""
    decode_picture(data, None, settings.max_picture_pixels)
