"""The kinds of input, one folder each. A new one is a folder and a line here."""

from __future__ import annotations

from intgrads.detections.request import DetectionRequest
from intgrads.pictures.request import ImageRequest
from intgrads.request import Request
from intgrads.texts.request import TextRequest

REQUESTS: tuple[type[Request], ...] = (ImageRequest, DetectionRequest, TextRequest)
"""What is asked of each."""
