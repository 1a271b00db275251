"""What was found on a picture, in the sent picture's pixels, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from intgrads.run_lengths import encode_mask
from intgrads.segmentation.tensormask import Detections


@dataclass(frozen=True)
class Instances:
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
    places : Detections
        The same, with where on the network's maps each was found.
    mask_logits : list of N tensors
        As the network gave them, each of its own size.
    """

    masks: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    labels: list[str]
    score_threshold: float
    places: Detections
    mask_logits: list[Tensor]

    def __len__(self) -> int:
        return len(self.labels)

    def figures(self) -> dict[str, NDArray[Any]]:
        """Return what every answer carries of them."""
        return {"scores": self.scores, "pred_classes": self.classes, "pred_boxes": self.boxes}

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
