"""Train a small TensorMask on pictures drawn here: ``python training/shapes.py``. Its weights come with intgrads.

Bars, rings and stars, rotated, of varied size and colour, overlapping, on coloured noise. The assignment of windows to
objects and the losses are the paper's (arXiv 1903.12174, sections 3 and 4.3). Pictures are drawn from the seed of their
number, those held out from numbers that training never reaches. What the network finds there is judged by pycocotools
and written beside the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from intgrads.detections.detectron import IntgradsTensorMask, build_tensormask, read_config
from intgrads.detections.swap_align import swap_align2nat_at
from intgrads.detections.tensormask import paste
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss
from torchvision.ops import roi_align

HERE = Path(__file__).parent
CONFIG = HERE / "shapes.yaml"
WEIGHTS = HERE / "shapes.safetensors"
RESULTS = HERE / "shapes.results.json"

KINDS = ("bar", "ring", "star")
SIDE = 128
FINER = 4
"""Shapes are drawn this many times larger and averaged, for smooth edges."""

HELD_OUT = 10_000_000
"""Number of the first picture that is held out."""

BATCH = 8
FOCAL_GAMMA, FOCAL_ALPHA = 3.0, 0.3
MASK_WEIGHT, POSITIVE_WEIGHT = 2.0, 1.5
MOST_MASKS = 40
"""Windows of a batch whose masks are trained on, drawn at random among those that hold an object."""


@dataclass(frozen=True)
class Drawing:
    """A picture and its objects.

    Attributes
    ----------
    pixels : ndarray, (SIDE, SIDE, 3), uint8
        RGB.
    masks : ndarray, (N, SIDE, SIDE), bool
        What is seen of each object.
    kinds : ndarray, (N,), int64
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    kinds: NDArray[np.int64]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes of what is seen, (N, 4)."""
        boxes = []
        for mask in self.masks:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        return np.array(boxes, np.float32).reshape(-1, 4)


def draw(number: int) -> Drawing:
    """Draw the picture of a number."""
    random = np.random.default_rng(number)
    ground = random.uniform(40, 215, 3)
    slope = random.normal(0, 25, (2, 3))
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    pixels = ground + x[..., None] * slope[0] + y[..., None] * slope[1]
    opacities: list[NDArray[np.float64]] = []
    kinds: list[int] = []
    for _ in range(random.integers(1, 5)):
        kind = int(random.integers(len(KINDS)))
        length = math.exp(random.uniform(math.log(20), math.log(76)))
        centre = random.uniform(min(length / 2, 60), SIDE - min(length / 2, 60), 2)
        shape = _shape(KINDS[kind], length, centre, random.uniform(0, 2 * math.pi))
        colour = random.uniform(0, 255, 3)
        while np.abs(colour - ground).max() < 70:
            colour = random.uniform(0, 255, 3)
        pixels += shape[..., None] * (colour - pixels)
        before = [opacity * (1 - shape) for opacity in opacities]
        if all(after.sum() >= 0.5 * opacity.sum() for after, opacity in zip(before, opacities, strict=True)):
            opacities, kinds = [*before, shape], [*kinds, kind]
        else:
            # It would hide too much of another: what is seen of it stays as ground, and what it covers is drawn again.
            return draw(number + HELD_OUT * 10)
    noisy = pixels + random.normal(0, random.uniform(2, 12), pixels.shape)
    return Drawing(np.clip(noisy, 0, 255).astype(np.uint8), np.stack(opacities) >= 0.5, np.array(kinds))


def _shape(kind: str, length: float, centre: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Return how much of each pixel a shape covers, (SIDE, SIDE)."""
    canvas = Image.new("L", (SIDE * FINER, SIDE * FINER))
    pen = ImageDraw.Draw(canvas)
    x, y = centre * FINER
    radius = length / 2 * FINER
    if kind == "ring":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        hole = 0.5 * radius
        pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        if kind == "star":
            angles = angle + np.arange(10) * math.pi / 5
            radii = radius * np.where(np.arange(10) % 2, 0.42, 1.0)
        else:
            angles = angle + np.array([0.28, math.pi - 0.28, math.pi + 0.28, -0.28])
            radii = np.full(4, radius)
        corners = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1)
        pen.polygon([tuple(corner) for corner in corners], fill=255)
    covered: NDArray[np.float64] = np.asarray(canvas, np.float64).reshape(SIDE, FINER, SIDE, FINER).mean((1, 3))
    return covered / 255


def network_input(model: IntgradsTensorMask, drawings: list[Drawing]) -> Tensor:
    """Return what the network takes for some drawings, (N, 3, SIDE, SIDE), RGB."""
    return normalised(model, np.stack([one.pixels for one in drawings]))


def normalised(model: IntgradsTensorMask, pictures: NDArray[Any]) -> Tensor:
    """Return pictures (N, H, W, 3), RGB, 0 … 255, as the network takes them, (N, 3, H, W)."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    return (pixels - model.get_buffer("pixel_mean").flip(0)) / model.get_buffer("pixel_std").flip(0)


@dataclass(frozen=True)
class Assigned:
    """The windows of one level of one picture that hold an object: K windows and the objects' indices."""

    rows: Tensor
    columns: Tensor
    anchors: Tensor
    objects: Tensor


def assign(model: IntgradsTensorMask, level: int, shape: tuple[int, int], boxes: Tensor) -> Assigned:
    """Assign objects to a level's windows (paper, section 4.3).

    A window holds an object if it contains its box, is at most twice as large, and their centres are at most one unit
    apart, a unit being the stride; if two do, the nearer one. The smallest window takes smaller objects too.
    """
    windows = model.windows
    rows, columns, anchors = (
        index.flatten() for index in torch.meshgrid(
            torch.arange(shape[0]), torch.arange(shape[1]), torch.arange(len(windows)), indexing="ij"
        )
    )  # fmt: skip
    squares = windows.at(level, rows, columns, anchors)[:, None]
    contains = ((squares[..., :2] <= boxes[:, :2]) & (squares[..., 2:] >= boxes[:, 2:])).all(2)
    longest = (boxes[:, 2:] - boxes[:, :2]).max(1).values.clamp(min=windows.sides[0][0] / 2)
    fits = squares[..., 2] - squares[..., 0] <= 2 * longest
    apart = ((squares[..., :2] + squares[..., 2:] - boxes[:, :2] - boxes[:, 2:]) / 2).norm(dim=2)
    near = apart <= windows.strides[level]
    holds = contains & fits & near
    apart[~holds] = torch.inf
    which = holds.any(1)
    return Assigned(rows[which], columns[which], anchors[which], apart[which].argmin(1))


def losses(model: IntgradsTensorMask, drawings: list[Drawing], random: np.random.Generator) -> tuple[Tensor, ...]:
    """Return the losses of classes, boxes and masks."""
    features = model.features(network_input(model, drawings))
    head, windows = model.head, model.windows
    boxes = [torch.from_numpy(one.boxes) for one in drawings]
    kinds = [torch.from_numpy(one.kinds) for one in drawings]
    shown = [torch.from_numpy(one.masks).float() for one in drawings]
    class_losses, box_losses = [], []
    wanted: list[tuple[list[int], Tensor]] = []
    for level, feature in enumerate(features):
        height, width = feature.shape[2:]
        logits = head.classes(feature).view(len(drawings), len(windows), -1, height, width)
        deltas = head.boxes(feature).view(len(drawings), len(windows), 4, height, width)
        target = torch.zeros_like(logits)
        for i in range(len(drawings)):
            found = assign(model, level, (height, width), boxes[i])
            target[i, found.anchors, kinds[i][found.objects], found.rows, found.columns] = 1
            squares = windows.at(level, found.rows, found.columns, found.anchors)
            truth = boxes[i][found.objects]
            box_losses.append(
                l1_loss(
                    deltas[i, found.anchors, :, found.rows, found.columns],
                    _deltas(squares, truth) * torch.tensor(model.box_weights),
                    reduction="sum",
                )
            )
            places = torch.stack([found.anchors, found.rows, found.columns, found.objects], 1).tolist()
            wanted += [([level, i, *place], square) for place, square in zip(places, squares, strict=True)]
        plain = binary_cross_entropy_with_logits(logits, target, reduction="none")
        missed = torch.where(target == 1, 1 - logits.sigmoid(), logits.sigmoid())
        weight = torch.where(target == 1, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
        class_losses.append((weight * missed**FOCAL_GAMMA * plain).sum())
    positives = max(1, len(wanted))
    chosen = [wanted[k] for k in random.permutation(len(wanted))[:MOST_MASKS]]
    mask_losses = _mask_losses(model, features, shown, chosen)
    return (
        torch.stack(class_losses).sum() / positives,
        torch.stack(box_losses).sum() / positives,
        MASK_WEIGHT * mask_losses,
    )


def _mask_losses(
    model: IntgradsTensorMask, features: list[Tensor], shown: list[Tensor], chosen: list[tuple[list[int], Tensor]]
) -> Tensor:
    head = model.head
    fused = head.mask_features(features, sorted({level for (level, *_), _ in chosen}))
    pairs = {(level, anchor) for (level, _, anchor, *_), _ in chosen}
    maps = {(level, anchor): head.mask_map(fused[level], anchor).unbind() for level, anchor in pairs}
    total = []
    for (level, i, anchor, row, column, thing), square in chosen:
        scale = head.mask_scale(level)
        place = torch.tensor([row]), torch.tensor([column])
        logits = swap_align2nat_at(maps[level, anchor][i], scale, *place)[0]
        side = logits.shape[0]
        truth = roi_align(shown[i][thing][None, None], [square[None]], side, aligned=True)[0, 0] >= 0.5
        weight = torch.where(truth, POSITIVE_WEIGHT, 1.0)
        total.append(binary_cross_entropy_with_logits(logits, truth.float(), weight))
    return torch.stack(total).mean() if total else features[0].new_zeros(())


def _deltas(windows: Tensor, boxes: Tensor) -> Tensor:
    """Return how windows (K, 4) are moved and stretched to become boxes."""
    sides = windows[:, 2:] - windows[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:] - windows[:, :2] - windows[:, 2:]) / 2 / sides
    return torch.cat([centres, ((boxes[:, 2:] - boxes[:, :2]) / sides).log()], 1)


def new_model() -> IntgradsTensorMask:
    """Return the network with random weights, its backbone to be trained with batch normalisation."""
    config = read_config(CONFIG)
    config["MODEL"]["RESNETS"]["NORM"] = "BN"
    config["MODEL"]["BACKBONE"]["FREEZE_AT"] = 0
    model = build_tensormask(config)
    # So that at the start hardly any window is taken for an object (Lin et al. 2017, arXiv 1708.02002, section 4.1).
    nn.init.normal_(model.head.cls_score.weight, std=0.01)
    model.head.cls_score.bias = nn.Parameter(torch.full((model.head.cls_score.out_channels,), -math.log(99)))
    return model


def train(iterations: int, seed: int, checkpoint: Path) -> IntgradsTensorMask:
    """Train, from the checkpoint where there is one."""
    torch.manual_seed(seed)
    model = new_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, iterations, pct_start=0.1)
    done = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        done = state["done"]
    started = time.monotonic()
    for step in range(done, iterations):
        first = (seed * iterations + step) * BATCH
        drawings = [draw(first + k) for k in range(BATCH)]
        parts = losses(model, drawings, np.random.default_rng(first))
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(parts).sum())
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0 or step < 3:
            figures = " ".join(f"{part.item():.3f}" for part in parts)
            print(f"{step + 1}/{iterations}: {figures}, {time.monotonic() - started:.0f} s", flush=True)
        if (step + 1) % 200 == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": step + 1}
            torch.save({**state, "schedule": schedule.state_dict()}, checkpoint)
    return model


def save(model: IntgradsTensorMask) -> None:
    """Write the weights as float16, batch normalisation as detectron2 freezes it."""
    names = build_tensormask(read_config(CONFIG)).state_dict()
    save_file({name: model.state_dict()[name].half().contiguous() for name in names}, WEIGHTS)


@torch.no_grad()
def evaluate(model: IntgradsTensorMask, pictures: int) -> dict[str, float]:
    """Return the average precisions of boxes and masks on pictures that are held out."""
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number in range(pictures):
        drawing = draw(HELD_OUT + number)
        for mask, kind, (x0, y0, x1, y1) in zip(drawing.masks, drawing.kinds, drawing.boxes.tolist(), strict=True):
            truth.append(
                {
                    "id": len(truth) + 1, "image_id": number, "category_id": int(kind), "iscrowd": 0,
                    "area": int(mask.sum()), "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": coco_masks.encode(np.asfortranarray(mask)),
                }
            )  # fmt: skip
        features = model.features(network_input(model, [drawing]))
        detections = model.detect(features, model.score_threshold).scaled((SIDE, SIDE), (SIDE, SIDE))
        masks = paste(model.masks(features, detections), detections.windows, (SIDE, SIDE))
        rows = zip(
            detections.boxes.tolist(), detections.scores.tolist(), detections.classes.tolist(), masks, strict=True
        )
        for (x0, y0, x1, y1), score, kind, mask in rows:
            found.append(
                {
                    "image_id": number, "category_id": kind, "score": score, "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": coco_masks.encode(np.asfortranarray(mask.numpy())),
                }
            )  # fmt: skip
    return _precisions(truth, found, pictures)


def _precisions(truth: list[dict[str, Any]], found: list[dict[str, Any]], pictures: int) -> dict[str, float]:
    """Return COCO's average precisions (Lin et al., ECCV 2014) of boxes and of masks."""
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": number, "height": SIDE, "width": SIDE} for number in range(pictures)],
        "categories": [{"id": kind, "name": name} for kind, name in enumerate(KINDS)],
        "annotations": truth,
    }
    coco.createIndex()
    figures: dict[str, float] = {}
    for what, kind, other in (("box", "bbox", "segmentation"), ("mask", "segm", "bbox")):
        # Judged for themselves: results that hold boxes are taken for boxes.
        results = coco.loadRes([{key: value for key, value in one.items() if key != other} for one in found])
        judge = COCOeval(coco, results, kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        names = (f"{what}_AP", f"{what}_AP50", f"{what}_AP75")
        figures |= dict(zip(names, judge.stats[:3].round(4).tolist(), strict=True))
    return figures


def main() -> None:
    """Train, save, judge."""
    parser = argparse.ArgumentParser(description="Train the small TensorMask of drawn shapes.")
    parser.add_argument("--iterations", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=300, help="pictures held out")
    parser.add_argument("--checkpoint", type=Path, default=Path(".run/shapes.pt"), help="to go on from")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.checkpoint.parent.mkdir(exist_ok=True)
    save(train(given.iterations, given.seed, given.checkpoint))
    judged = judge_saved(given.pictures)
    RESULTS.write_text(
        json.dumps({"iterations": given.iterations, "pictures": given.pictures, **judged}, indent=1) + "\n"
    )
    print(judged)


def judge_saved(pictures: int) -> dict[str, float]:
    """Judge the weights that were saved, as they are served."""
    model = build_tensormask(read_config(CONFIG)).eval()
    model.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
    return evaluate(model, pictures)


if __name__ == "__main__":
    main()
