"""TensorMask (Chen, Girshick, He, Dollár, ICCV 2019, arXiv 1903.12174): instance masks by a sliding window.

At each location of each level of a feature pyramid, and for each of its windows (anchors), the head predicts a logit
for each class, a box, and a mask of the window. With the *tensor bipyramid* (section 4.2) masks are predicted from the
finest map at every level, so that large objects have fine masks; SwapAlign2Nat brings them into their window's frame.

This module is the published model's arithmetic in PyTorch and torchvision alone. The names of its parameters are those
of the published checkpoints. Selecting detections and evaluating their masks are separate: a mask is evaluated only
where a detection survived, and a detection can be differentiated at the place where it was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, pad
from torchvision.ops import batched_nms, clip_boxes_to_image

from intgrads.detections.swap_align import swap_align2nat_at

LARGEST_GROWTH = math.log(1000 / 16)
"""A box grows by at most this exponent over its window: detectron2's own limit, against overflow."""


class TensorMaskHead(nn.Module):
    """The three towers, the same at every level.

    Parameters
    ----------
    in_channels : int
        Channels of the feature maps.
    num_classes : int
    mask_sizes : sequence of int
        V of each window of a location, in values of the finest level.
    num_convs : int, default 4
        3 × 3 convolutions of each tower.
    cls_channels, bbox_channels, mask_channels : int
        Channels of the towers.
    aligned : bool, default True
        Whether masks are predicted in the aligned representation.
    bipyramid : bool, default True
        Whether they are predicted at the finest map; needs `aligned`.

    Raises
    ------
    ValueError
        If a bipyramid is asked for without the aligned representation.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        mask_sizes: Sequence[int],
        *,
        num_convs: int = 4,
        cls_channels: int = 256,
        bbox_channels: int = 128,
        mask_channels: int = 128,
        aligned: bool = True,
        bipyramid: bool = True,
    ) -> None:
        super().__init__()
        if bipyramid and not aligned:
            raise ValueError("a tensor bipyramid needs the aligned representation: set ALIGNED_ON with BIPYRAMID_ON")
        self.num_classes, self.num_convs = num_classes, num_convs
        self.mask_sizes, self.aligned, self.bipyramid = tuple(mask_sizes), aligned, bipyramid
        windows = len(self.mask_sizes)
        self.cls_subnet = _tower(in_channels, cls_channels, num_convs)
        self.cls_score = nn.Conv2d(cls_channels, windows * num_classes, 3, padding=1)
        self.bbox_subnet = _tower(in_channels, bbox_channels, num_convs)
        self.bbox_pred = nn.Conv2d(bbox_channels, windows * 4, 3, padding=1)
        self.mask_subnet = _tower(in_channels, mask_channels, num_convs)
        for size in self.mask_sizes:
            self.add_module(f"mask_pred_{size:02}", nn.Conv2d(mask_channels, size**2, 1))
        if bipyramid:
            self.mask_fuse = _tower(mask_channels, mask_channels, 1)

    def classes(self, feature: Tensor) -> Tensor:
        """Map features (N, C, H, W) to class logits (N, windows · classes, H, W)."""
        logits: Tensor = self.cls_score(self.cls_subnet(feature))
        return logits

    def classes_at(self, feature: Tensor, row: int, column: int) -> Tensor:
        """Return the class logits (N, windows · classes) at one location: what :meth:`classes` gives there.

        They depend on the features within `num_convs` + 1 pixels. The zeros that pad the part cut out spoil its rim by
        one pixel a convolution and never reach the location; where the part ends at the map's own border, they belong.
        """
        reach = self.num_convs + 1
        top, left = max(row - reach, 0), max(column - reach, 0)
        near = feature[:, :, top : row + reach + 1, left : column + reach + 1]
        return self.classes(near)[:, :, row - top, column - left]

    def boxes(self, feature: Tensor) -> Tensor:
        """Map features (N, C, H, W) to box deltas (N, windows · 4, H, W)."""
        deltas: Tensor = self.bbox_pred(self.bbox_subnet(feature))
        return deltas

    def mask_features(self, features: Sequence[Tensor], levels: Iterable[int]) -> dict[int, Tensor]:
        """Return, for some of the levels, the features (N, C, H, W) from which masks are predicted.

        With the bipyramid all are as fine as the finest level's, to which each level's own are added.
        """
        if not self.bipyramid:
            return {level: self.mask_subnet(features[level]) for level in levels}
        finest = self.mask_subnet(features[0])
        height, width = finest.shape[2:]
        fused = {}
        for level in levels:
            own = finest
            if level:
                own = interpolate(self.mask_subnet(features[level]), scale_factor=2.0**level, mode="bilinear")
            fused[level] = self.mask_fuse(own[:, :, :height, :width] + finest)
        return fused

    def mask_map(self, feature: Tensor, window: int) -> Tensor:
        """Map what :meth:`mask_features` returns to mask logits (N, V², H, W), not yet in the frame of their window."""
        prediction: Tensor = self.get_submodule(f"mask_pred_{self.mask_sizes[window]:02}")(feature)
        return prediction

    def mask_scale(self, level: int) -> int:
        """Return λ: how much finer than its level's own map a mask is."""
        return 2**level if self.bipyramid else 1

    def masks_at(self, feature: Tensor, level: int, window: int, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the mask logits of some locations of one picture.

        Parameters
        ----------
        feature : Tensor, (C, H, W)
            The level's of :meth:`mask_features`.
        level, window : int
        rows, columns : Tensor, (K,), long
            Locations on the level's own map.

        Returns
        -------
        Tensor, (K, λV, λV)
        """
        logits = self.mask_map(feature[None], window)[0]
        if self.aligned:
            return swap_align2nat_at(logits, self.mask_scale(level), rows, columns)
        side = self.mask_sizes[window]
        return logits[:, rows, columns].t().reshape(-1, side, side)


def _tower(in_channels: int, channels: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        layers += [nn.Conv2d(channels if i else in_channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Windows:
    """The sliding windows: squares of given sides, centred at each location.

    Attributes
    ----------
    strides : tuple of int
        Pixels between the locations of each level.
    sides : tuple of tuple of float
        Of each level's windows, in pixels.
    """

    strides: tuple[int, ...]
    sides: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        """Return the number of windows at a location."""
        return len(self.sides[0])

    def at(self, level: int, rows: Tensor, columns: Tensor, windows: Tensor) -> Tensor:
        """Return windows (K, 4) as x0, y0, x1, y1 in pixels of the network's input."""
        centres = torch.stack([columns, rows], 1) * self.strides[level]
        half = torch.tensor(self.sides[level], device=rows.device)[windows, None] / 2
        return torch.cat([centres - half, centres + half], 1)


@dataclass(frozen=True)
class Place:
    """Where on the pyramid something was predicted: level, which of the location's windows, and the location."""

    level: int
    anchor: int
    row: int
    column: int


@dataclass(frozen=True)
class Detections:
    """N detections of one picture, likeliest first, and where on the pyramid each was found.

    Attributes
    ----------
    boxes : Tensor, (N, 4)
        x0, y0, x1, y1 in pixels of the network's input.
    scores : Tensor, (N,)
        Probabilities.
    classes : Tensor, (N,), long
    windows : Tensor, (N, 4)
        The window that each was found in; its mask is of this square.
    levels, anchors, rows, columns : Tensor, (N,), long
        Level, which of the location's windows, and the location.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    windows: Tensor
    levels: Tensor
    anchors: Tensor
    rows: Tensor
    columns: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: Tensor | slice) -> Detections:
        """Return some of them."""
        return Detections(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def place(self, k: int) -> Place:
        """Return where detection k was found."""
        return Place(int(self.levels[k]), int(self.anchors[k]), int(self.rows[k]), int(self.columns[k]))

    def scaled(self, before: tuple[int, int], after: tuple[int, int]) -> Detections:
        """Return them in pixels of the picture as it was before the network's input was made of it.

        Parameters
        ----------
        before, after : (int, int)
            Height and width of the network's input, without padding, and of the picture.

        Returns
        -------
        Detections
            Boxes clipped to the picture; those of which nothing is left are left out. Windows are not clipped.
        """
        factors = self.boxes.new_tensor([after[1] / before[1], after[0] / before[0]]).repeat(2)
        boxes = clip_boxes_to_image(self.boxes * factors, after)
        scaled = Detections(**{**vars(self), "boxes": boxes, "windows": self.windows * factors})
        return scaled[(boxes[:, 2:] > boxes[:, :2]).all(1)]


class TensorMask(nn.Module):
    """A backbone with TensorMask's head.

    Parameters
    ----------
    backbone : nn.Module
        (N, 3, H, W) to a dictionary of feature maps.
    head : TensorMaskHead
    in_features : sequence of str
        Names of the maps that the head takes, finest first.
    windows : Windows
    divisibility : int
        What height and width are padded to a multiple of.
    bgr : bool, default True
        Whether the backbone takes blue first. What we take is red first.
    candidates : int, default 6000
        Most candidates before non-maximum suppression.
    nms_threshold : float, default 0.5
        Overlap beyond which, of two candidates of a class, the less likely is left out.
    most_detections : int, default 100
    box_weights : 4 floats
        What the predicted deltas are divided by.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: TensorMaskHead,
        in_features: Sequence[str],
        windows: Windows,
        *,
        divisibility: int,
        bgr: bool = True,
        candidates: int = 6000,
        nms_threshold: float = 0.5,
        most_detections: int = 100,
        box_weights: Sequence[float] = (1.5, 1.5, 0.75, 0.75),
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.in_features, self.windows, self.divisibility, self.bgr = tuple(in_features), windows, divisibility, bgr
        self.candidates, self.nms_threshold, self.most_detections = candidates, nms_threshold, most_detections
        self.box_weights = tuple(box_weights)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of normalised RGB pictures (N, 3, H, W), finest first."""
        height, width = x.shape[2:]
        below, right = -height % self.divisibility, -width % self.divisibility
        maps = self.backbone(pad(x.flip(1) if self.bgr else x, (0, right, 0, below)))
        return [maps[name] for name in self.in_features]

    def detect(self, features: Sequence[Tensor], score_threshold: float) -> Detections:
        """Find the objects of one picture.

        Parameters
        ----------
        features : sequence of Tensor, (1, C, H, W)
            What :meth:`features` returned.
        score_threshold : float
            Probability over which a candidate is looked at.

        Returns
        -------
        Detections
        """
        found = [self._candidates(level, feature, score_threshold) for level, feature in enumerate(features)]
        merged = Detections(**{f.name: torch.cat([getattr(one, f.name) for one in found]) for f in fields(Detections)})
        merged = merged[merged.scores.sort(descending=True, stable=True).indices[: self.candidates]]
        kept = batched_nms(merged.boxes, merged.scores, merged.classes, self.nms_threshold)
        return merged[kept[: self.most_detections]]

    def _candidates(self, level: int, feature: Tensor, score_threshold: float) -> Detections:
        """Return a level's likeliest candidates, in the order (row, column, window, class)."""
        windows, classes = len(self.windows), self.head.num_classes
        height, width = feature.shape[2:]
        logits = self.head.classes(feature)[0].view(windows, classes, height, width)
        scores = logits.permute(2, 3, 0, 1).flatten().sigmoid()
        over = (scores > score_threshold).nonzero()[:, 0]
        over = over[scores[over].topk(min(self.candidates, len(over))).indices.sort().values]
        rows, columns, anchors, kinds = torch.unravel_index(over, (height, width, windows, classes))
        deltas = feature.new_zeros(0, 4)
        if len(over):
            deltas = self.head.boxes(feature)[0].view(windows, 4, height, width)[anchors, :, rows, columns]
        squares = self.windows.at(level, rows, columns, anchors)
        return Detections(
            boxes=_boxes(squares, deltas / deltas.new_tensor(self.box_weights)),
            scores=scores[over],
            classes=kinds,
            windows=squares,
            levels=torch.full_like(rows, level),
            anchors=anchors,
            rows=rows,
            columns=columns,
        )

    def masks(self, features: Sequence[Tensor], detections: Detections) -> list[Tensor]:
        """Return the mask logits of each detection, (λV, λV) over its window."""
        masks: list[Tensor] = [torch.empty(0)] * len(detections)
        fused = self.head.mask_features(features, sorted(set(detections.levels.tolist())))
        places = torch.stack([detections.levels, detections.anchors], 1)
        for level, anchor in sorted({(level, anchor) for level, anchor in places.tolist()}):
            which = (places == places.new_tensor([level, anchor])).all(1).nonzero()[:, 0]
            rows, columns = detections.rows[which], detections.columns[which]
            logits = self.head.masks_at(fused[level][0], level, anchor, rows, columns)
            for i, mask in zip(which.tolist(), logits, strict=True):
                masks[i] = mask
        return masks


def _boxes(windows: Tensor, deltas: Tensor) -> Tensor:
    """Move and stretch windows (K, 4) by deltas (dx, dy, dw, dh), as in R-CNN (Girshick et al. 2014, appendix C)."""
    sides = windows[:, 2:] - windows[:, :2]
    centres = windows[:, :2] + sides / 2 + deltas[:, :2] * sides
    half = deltas[:, 2:].clamp(max=LARGEST_GROWTH).exp() * sides / 2
    return torch.cat([centres - half, centres + half], 1)


def paste(masks: Sequence[Tensor], windows: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Lay masks into a picture.

    Parameters
    ----------
    masks : sequence of N tensors, (S, S)
        Logits; S may differ.
    windows : Tensor, (N, 4)
        x0, y0, x1, y1 of the square that each is of, in pixels of the picture.
    size : (int, int)
        Height and width of the picture.
    threshold : float, default 0.5
        Probability from which a pixel belongs to the object.

    Returns
    -------
    Tensor, (N, height, width), bool
    """
    height, width = size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool, device=windows.device)
    for mask, window, canvas in zip(masks, windows, pasted, strict=True):
        x0, y0, x1, y1 = window.tolist()
        left, right = max(math.floor(x0) - 1, 0), min(math.ceil(x1) + 1, width)
        top, bottom = max(math.floor(y0) - 1, 0), min(math.ceil(y1) + 1, height)
        if left >= right or top >= bottom:
            continue
        # Pixel centres, on the scale -1 … 1 of the window.
        x = (torch.arange(left, right, device=window.device) + 0.5 - x0) / (x1 - x0) * 2 - 1
        y = (torch.arange(top, bottom, device=window.device) + 0.5 - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        probabilities = grid_sample(mask.sigmoid()[None, None], grid[None].to(mask.dtype), align_corners=False)
        canvas[top:bottom, left:right] = probabilities[0, 0] >= threshold
    return pasted


class ClassLogits(nn.Module):
    """The class logits at the place where a detection was found, before non-maximum suppression.

    Only the backbone is computed, and the classes' tower around the place.

    Parameters
    ----------
    network : TensorMask
    place : Place
        Frozen.
    """

    def __init__(self, network: TensorMask, place: Place) -> None:
        super().__init__()
        self.network, self.place = network, place

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB pictures (B, 3, H, W) to logits (B, classes)."""
        head, place = self.network.head, self.place
        feature = self.network.features(x)[place.level]
        logits = head.classes_at(feature, place.row, place.column)
        return logits.view(len(x), -1, head.num_classes)[:, place.anchor]


class MaskLogit(nn.Module):
    """The mean mask logit of a detection over the part of its window that its mask covers.

    Parameters
    ----------
    network : TensorMask
    place : Place
        Frozen.
    region : Tensor, (λV, λV), bool
        What the mask covers on the picture itself, frozen; not empty.
    """

    def __init__(self, network: TensorMask, place: Place, region: Tensor) -> None:
        super().__init__()
        self.network, self.place, self.region = network, place, region

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB pictures (B, 3, H, W) to logits (B, 1)."""
        head, place = self.network.head, self.place
        fused = head.mask_features(self.network.features(x), [place.level])[place.level]
        row, column = torch.tensor([[place.row], [place.column]], device=x.device)
        masks = [head.masks_at(feature, place.level, place.anchor, row, column)[0] for feature in fused]
        return torch.stack([mask[self.region].mean() for mask in masks])[:, None]
