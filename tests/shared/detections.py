"""Networks for the tests of TensorMask, and the published model's order of operations on detectron2's parts."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from intgrads.detections.swap_align import swap_align2nat
from intgrads.detections.tensormask import TensorMask, TensorMaskHead, Windows
from torch import Tensor, nn
from torch.nn.functional import interpolate

from shared.places import TRAINING

SHAPES = TRAINING / "shapes.safetensors"
SHAPES_CONFIG = TRAINING / "shapes.yaml"
KINDS = ["bar", "ring", "star"]


class Pyramid(nn.Module):
    """A backbone of three levels and few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 5, stride=4, padding=2)
        self.p3 = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.p4 = nn.Conv2d(6, 6, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        p2 = self.stem(x).tanh()
        p3 = self.p3(p2).tanh()
        return {"p2": p2, "p3": p3, "p4": self.p4(p3).tanh()}


def small_tensormask(aligned: bool = True, bipyramid: bool = True, **options: Any) -> TensorMask:
    """Return a network of random weights: 3 classes, two windows a location, in float64, no detectron2."""
    torch.manual_seed(0)
    head = TensorMaskHead(
        6,
        3,
        [5, 7],
        num_convs=2,
        cls_channels=6,
        bbox_channels=6,
        mask_channels=6,
        aligned=aligned,
        bipyramid=bipyramid,
    )
    network = TensorMask(
        Pyramid(),
        head,
        ["p2", "p3", "p4"],
        Windows((4, 8, 16), ((20, 28), (40, 56), (80, 112))),
        divisibility=16,
        **options,
    )
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network.double().eval().requires_grad_(False)


def spread_out(network: TensorMask, x: Tensor) -> None:
    """Scale random predictions so that scores differ, boxes stay near their windows and masks have both signs."""
    features = network.features(x)
    head = network.head
    with torch.no_grad():
        _rescale(head.cls_score, torch.cat([head.classes(f).flatten() for f in features]), 2.0, -4.0)
        _rescale(head.bbox_pred, torch.cat([head.boxes(f).flatten() for f in features]), 0.3, 0.0)
        fused = head.mask_features(features, range(len(features)))
        for window, size in enumerate(head.mask_sizes):
            logits = torch.cat([head.mask_map(feature, window).flatten() for feature in fused.values()])
            _rescale(head.get_submodule(f"mask_pred_{size:02}"), logits, 3.0, 1.0)


def _rescale(layer: nn.Module, output: Tensor, std: float, mean: float) -> None:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    factor = std / output.std()
    layer.weight.mul_(factor)
    layer.bias.sub_(output.mean()).mul_(factor).add_(mean)


def published_detections(network: TensorMask, image: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """Find objects as the published project does, every mask of every level evaluated before any is chosen.

    Parameters
    ----------
    network : TensorMask
        For its layers alone.
    image : Tensor, (3, H, W)
        Normalised, in the order that the backbone takes.
    size : (int, int)
        Height and width of the picture that the answer is for.
    """
    # First, since it silences what detectron2 warns of as it is imported.
    import intgrads.detections.detectron  # noqa: F401
    from detectron2.layers import batched_nms, paste_masks_in_image
    from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.structures import Boxes, ImageList

    images = ImageList.from_tensors([image], network.divisibility)
    maps = network.backbone(images.tensor)
    features = [maps[name] for name in network.in_features]
    head, classes, windows = network.head, network.head.num_classes, len(network.windows)
    generator = DefaultAnchorGenerator(
        sizes=[list(level) for level in network.windows.sides],
        aspect_ratios=[[1.0]],
        strides=network.windows.strides,
        offset=0.0,  # detectron2's configuration says so, against the default of this class
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old call of torch.meshgrid
        anchors = Boxes.cat(generator(features)).tensor.to(image.dtype)

    def by_anchor(x: Tensor, channels: int) -> Tensor:
        return x.view(windows, channels, *x.shape[2:]).permute(2, 3, 0, 1).reshape(-1, channels)

    logits = torch.cat([by_anchor(head.cls_score(head.cls_subnet(f)), classes) for f in features])
    deltas = torch.cat([by_anchor(head.bbox_pred(head.bbox_subnet(f)), 4) for f in features])
    masks: list[Tensor] = []
    finest = head.mask_subnet(features[0])
    for level, feature in enumerate(features):
        own = head.mask_subnet(feature)
        if head.bipyramid:
            own = interpolate(own, scale_factor=2.0**level, mode="bilinear", align_corners=False) if level else own
            own = head.mask_fuse(own[:, :, : finest.shape[2], : finest.shape[3]] + finest)
        by_window = []
        for side in head.mask_sizes:
            dense = head.get_submodule(f"mask_pred_{side:02}")(own)
            if head.aligned:
                dense = swap_align2nat(dense, 2**level if head.bipyramid else 1)
            by_window.append(dense[0].flatten(1).t())
        # In the order of the anchors: location by location, and window by window there.
        masks += [mask for location in zip(*by_window, strict=True) for mask in location]

    order = logits.flatten().sigmoid().sort(descending=True)
    scores, which = order.values[: network.candidates], order.indices[: network.candidates]
    scores, which = scores[scores > 0.05], which[scores > 0.05]
    place, kinds = which // classes, which % classes
    boxes = Box2BoxTransform(weights=network.box_weights).apply_deltas(deltas[place], anchors[place])
    kept = batched_nms(boxes.float(), scores.float(), kinds, network.nms_threshold)[: network.most_detections]
    place, kinds, scores, boxes = place[kept], kinds[kept], scores[kept], boxes[kept]

    factors = torch.tensor([size[1] / image.shape[2], size[0] / image.shape[1]]).repeat(2)
    scaled = Boxes(boxes * factors)
    scaled.clip(size)
    some = scaled.nonempty()
    pasted = []
    for anchor in place[some].tolist():
        side = int(masks[anchor].numel() ** 0.5)
        probabilities = masks[anchor].view(1, side, side).sigmoid().float()
        pasted.append(paste_masks_in_image(probabilities, (anchors[anchor] * factors)[None].float(), size, 0.5)[0])
    return {
        "pred_boxes": scaled.tensor[some],
        "scores": scores[some],
        "pred_classes": kinds[some],
        "pred_masks": torch.stack(pasted) if pasted else torch.zeros(0, *size, dtype=torch.bool),
    }


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of masks (N, h, w), 1 where both are empty."""
    union = (a | b).flatten(1).sum(1)
    both = (a & b).flatten(1).sum(1)
    return torch.where(union > 0, both / union, 1.0)
