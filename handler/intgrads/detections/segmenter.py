"""TensorMask as it is served: a picture in, its objects out, in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from intgrads.detections.instances import Instances
from intgrads.detections.tensormask import TensorMask, paste
from intgrads.errors import RequestError
from intgrads.labels import Labels
from intgrads.pictures.decoding import Picture
from intgrads.pictures.transform import PictureSpec

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Segmenter:
    """A TensorMask, and how it wants its picture.

    Attributes
    ----------
    network : TensorMask
        In evaluation mode, parameters frozen.
    labels : Labels
        One for each class.
    mean, std : tuple of 3 floats
        RGB, on the scale 0 … 1.
    min_size, max_size : int
        A picture is resized so that its shorter side is `min_size`, or its longer one `max_size` if it would be longer.
    """

    network: TensorMask
    labels: Labels
    mean: Triple
    std: Triple
    min_size: int
    max_size: int

    def picture_spec(self, size: tuple[int, int]) -> PictureSpec:
        """Return how a picture of a height and width is prepared."""
        scale = min(self.min_size / min(size), self.max_size / max(size))
        height, width = (max(1, int(side * scale + 0.5)) for side in size)
        return PictureSpec(height, width, self.mean, self.std, "bilinear", "squash")

    @torch.no_grad()
    def find(
        self, picture: Picture, score_threshold: float, max_answer_mb: int, in_time: Callable[[], None]
    ) -> Instances:
        """Find the objects of a picture; see :meth:`intgrads.pictures.objects.Finder.find`."""
        in_time()
        spec = self.picture_spec(picture.size)
        x = spec.normalise(spec.resize(picture))[None].to(next(self.network.parameters()).device)
        features = self.network.features(x)
        in_time()
        found = self.network.detect(features, score_threshold).scaled((spec.height, spec.width), picture.size)
        size = len(found) * picture.size[0] * picture.size[1]
        if size > max_answer_mb * 2**20:
            raise RequestError(
                f"the masks of {len(found)} objects would take {size / 2**20:.0f} MB, more than this archive's "
                f"{max_answer_mb}; send a smaller picture or a higher score_threshold, or segment=false",
                "score_threshold",
                kind="AnswerTooLarge",
            )
        in_time()
        logits = self.network.masks(features, found)
        classes = found.classes.cpu().numpy()
        return Instances(
            masks=paste(logits, found.windows, picture.size).cpu().numpy(),
            boxes=found.boxes.cpu().numpy(),
            scores=found.scores.cpu().numpy(),
            classes=classes,
            labels=[self.labels[kind] for kind in classes.tolist()],
            score_threshold=score_threshold,
            places=found,
            mask_logits=logits,
        )
