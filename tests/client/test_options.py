"""The fields of a request are typed for Python, all of them."""

from intgrads.client import Options
from intgrads.detections.request import DetectionRequest
from intgrads.pictures.request import ImageRequest
from intgrads.texts.request import TextRequest

INPUTS = {"data", "image", "img_data", "sequence"}


def test_every_field_is_there_but_the_input_and_the_format() -> None:
    fields = {name for kind in (ImageRequest, DetectionRequest, TextRequest) for name in kind.model_fields}
    assert Options.__annotations__.keys() == fields - INPUTS - {"format"}
