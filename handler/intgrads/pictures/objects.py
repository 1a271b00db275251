"""Objects of a picture, in the sent picture's pixels, and how they are told. Whoever finds them: detections/ does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from intgrads.labels import Labels
from intgrads.pictures.decoding import Picture
from intgrads.pictures.run_lengths import encode_mask
from intgrads.subject import Array


@dataclass(frozen=True)
class Objects:
    """N objects of a picture, likeliest first.

    Attributes
    ----------
    masks : ndarray, (N, h, w), bool
        At the sent picture's size.
    boxes : ndarray, (N, 4), float32
        x0, y0, x1, y1 in the sent picture's pixels.
    scores : ndarray, (N,), float32
        Probabilities.
    classes : ndarray, (N,), int64
    labels : list of str
    score_threshold : float
        Over which they were looked for.
    """

    masks: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    labels: list[str]
    score_threshold: float

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self, with_masks: bool) -> list[Array]:
        """Return what every answer carries of them, and their masks where they are to be sent."""
        masks = [Array("pred_masks", self.masks, large=True)] if with_masks else []
        return [
            Array("scores", self.scores),
            Array("pred_classes", self.classes),
            Array("pred_boxes", self.boxes),
            *masks,
        ]

    def listed(self, with_masks: bool) -> list[dict[str, Any]]:
        """Return them as plain JSON, masks as run lengths in COCO's format."""
        rows = zip(
            self.labels, self.classes.tolist(), self.scores.tolist(), self.boxes.tolist(), self.masks, strict=True
        )
        return [
            {"label": label, "class": kind, "score": score, "box": box, "size": int(mask.sum())}
            | ({"mask": encode_mask(mask)} if with_masks else {})
            for label, kind, score, box, mask in rows
        ]


class Finder(Protocol):
    """What finds objects on a picture."""

    @property
    def labels(self) -> Labels:
        """One for each class."""
        ...

    def find(
        self, picture: Picture, score_threshold: float, max_answer_mb: int, in_time: Callable[[], None]
    ) -> Objects:
        """Find the objects of a picture.

        Parameters
        ----------
        picture : Picture
        score_threshold : float
            Probability over which an object counts as found.
        max_answer_mb : int
            Most memory for masks, a byte a pixel, in MiB.
        in_time : callable
            Raises once the time is over; called between the parts of the work.

        Raises
        ------
        RequestError
            Where their masks would take more, or `in_time` raises.
        """
        ...
