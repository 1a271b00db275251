"""Do attributions say something true? Deletion and insertion in several orders, and where a contrast points.

Parts of an input are replaced by the baseline in the order that an attribution gives, or added to the baseline in it
(``integral/ablation.py``). The figure is the mean of the output along the way, from f(x') = 0 to f(x) = 1, over *area*:
a good order lets it fall soon under deletion (low) and rise soon under insertion (high). Pictures have these orders,
all held against the black baseline:

- ``IG``: the plain map, pixels in slices;
- ``IG, three baselines``: the mean of the maps from black, white and blurred;
- ``sum of IG`` over superpixels, ``values`` (signed by IDG), ``values with pixels`` in the family (without a sign),
  and ``IG by area``;
- ``regions by IDG`` and ``regions by area``: the leaves of the nested regions;
- ``superpixels by chance``.

Sentences have their words, and their tokens in the order of IG. The second table has the differences of each order from
the plain sum of IG over the same inputs. The third one tells where a contrast points, in drawings with shapes of two
kinds, a and b: of the positive part of a map that lies on shapes at all, the part that lies on a's, and of the negative
one that on b's. 0.5 is chance, as each drawing is asked about both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from intgrads import integrated_gradients
from intgrads.integral.ablation import Ends, Parts, chances_of_groups, ranked_groups, slices, verify
from intgrads.integral.groups import GroupValues, group_values
from intgrads.pictures.baselines import ImageBaseline, image_baseline
from intgrads.pictures.groups import superpixels
from intgrads.pictures.regions import region_tree
from intgrads.pictures.sent import by_pixel
from intgrads.subject import Integrand
from numpy.typing import NDArray
from options import Options, Row, Tables
from shapes import HELD_OUT, KINDS, draw
from subjects import KindsPresent, Pictured, digits, drawings, photos, sentences
from torch import Tensor, nn

Array = NDArray[np.float64]
STEPS = 64
ROWS = 16
PICTURES = {"photos": (photos, 20), "digits": (digits, 20), "drawings": (drawings, 20)}
SENTENCES = 270
BASELINES: tuple[ImageBaseline, ...] = ("black", "white", "blur")
TEXT_BASELINES = ("pad", "unk", "mask")
LEAST_DIFFERENCE = 0.5
"""Between f(x) and f(x'); below it there is nothing to fall."""
PLAIN = "sum of IG"
CONTRAST_BASELINES: tuple[ImageBaseline, ...] = ("black", "mean")
CONTRASTS = 40
"""Drawings with two kinds of shapes, both of which the network sees."""


@dataclass
class Found:
    """What each order of a kind of input came to, an input after the other."""

    deletion: dict[str, list[float]] = field(default_factory=dict)
    insertion: dict[str, list[float]] = field(default_factory=dict)


def measure(options: Options) -> Tables:
    """Return the tables."""
    found: dict[str, Found] = {}
    for kind, (make, count) in PICTURES.items():
        if options.wants(kind) and not (options.tiny and kind != "digits"):
            found[kind] = Found()
            for one in make(1 if options.tiny else count):
                of_picture(one, found[kind])
            print(kind, flush=True)
    if options.wants("sentences") and not options.tiny:
        found["sentences"] = Found()
        for module, integrands in sentences(SENTENCES, TEXT_BASELINES):
            of_sentence(module, integrands, found["sentences"])
    tables = {"faithfulness": absolute(found), "faithfulness-differences": differences(found)}
    if options.wants("contrast"):
        tables["faithfulness-contrast"] = contrasts(2 if options.tiny else CONTRASTS)
    return tables


# ---------------------------------------------------------------------- orders
def of_picture(one: Pictured, found: Found) -> None:
    """Add the curves of a picture."""
    x = one.normalise(one.pixels)
    starts = [one.normalise(image_baseline(name, one.pixels)) for name in BASELINES]  # type: ignore[arg-type]
    with torch.no_grad():
        outputs = one.module(torch.stack([x, starts[0]]))
    target = int(outputs[0].argmax())
    if float(outputs[0, target] - outputs[1, target]) < LEAST_DIFFERENCE:
        return
    maps = [attributed(one.module, x, start, target) for start in starts]
    own, step = by_pixel(maps[0]).numpy(), by_pixel((x - starts[0]).double()).numpy()
    changed = (step != 0).any(1)
    orders: dict[str, Parts] = {
        "IG": slices(own.sum(1), changed),
        "IG, three baselines": slices(by_pixel(torch.stack(maps).mean(0)).numpy().sum(1), changed),
    }
    groups = superpixels(one.pixels, "slic", None).masks.reshape(-1, len(own))
    alone, family = valued(own, step, groups, False), valued(own, step, groups, True)
    orders |= {
        PLAIN: ranked(groups, alone.integrated_gradients),
        "values": ranked(groups, np.sign(alone.idg) * alone.values),
        "values with pixels": ranked(groups, family.values),
        "IG by area": ranked(groups, alone.integrated_gradients / groups.sum(1)),
    }
    tree = region_tree(one.pixels)
    leaves = tree.masks[: tree.leaves].reshape(tree.leaves, -1)
    regions = valued(own, step, leaves, False)
    orders |= {
        "regions by IDG": ranked(leaves, regions.idg),
        "regions by area": ranked(leaves, regions.integrated_gradients / leaves.sum(1)),
    }
    units = by_pixel(torch.arange(x.numel()).view(x.shape))
    held(lambda points: one.module(points)[:, target], Ends(x, [starts[0]], units), orders, found)


def of_sentence(module: nn.Module, integrands: Sequence[Integrand], found: Found) -> None:
    """Add the curves of a sentence."""
    one = integrands[0]
    forward, x, baseline = one.bind(module), one.input, one.baseline
    with torch.no_grad():
        outputs = forward(torch.stack([x, baseline]))
    target = int(outputs[0].argmax())
    assert one.family is not None
    kinds = np.array(one.family.kinds)
    words = one.family.members[kinds == "word"]
    if float(outputs[0, target] - outputs[1, target]) < LEAST_DIFFERENCE or len(words) < 4:
        return
    maps = [attributed(forward, x, other.baseline, target) for other in integrands]
    own, step = one.by_unit(maps[0]).numpy(), one.by_unit((x - baseline).double()).numpy()
    mean = one.by_unit(torch.stack(maps).mean(0)).numpy().sum(1)
    # The family of an answer: the tokens, the words and the whole text.
    values = group_values(own, step, one.family.members, one.family.units)
    values = values.of(np.flatnonzero(kinds == "word").tolist())
    orders = {
        "IG": slices(own.sum(1), (step != 0).any(1), len(own)),
        "IG, three baselines": slices(mean, (step != 0).any(1), len(own)),
        PLAIN: ranked(words, values.integrated_gradients),
        "sum of IG, three baselines": ranked(words, words @ mean),
        "values": ranked(words, np.sign(values.idg) * values.values),
        "IDG": ranked(words, values.idg),
    }
    held(lambda points: forward(points)[:, target], Ends(x, [baseline], one.unit_places), orders, found)


def attributed(module: nn.Module, x: Tensor, baseline: Tensor, target: int) -> Tensor:
    """Return the map from a baseline, (*shape), float64."""
    found = integrated_gradients(
        module, x[None], baseline[None].float(), target, n_steps=STEPS, chunk_rows=ROWS, keep_gradients=False
    )
    return found.integrated_gradients[0].double()


def valued(own: Array, step: Array, groups: NDArray[np.bool_], units: bool) -> GroupValues:
    """Return what groups carry in the family with the whole input, of these groups alone."""
    values = group_values(own, step, np.concatenate([groups, np.ones_like(groups[:1])]), units)
    return values.of(range(len(groups)))


def ranked(groups: NDArray[np.bool_], priority: Array) -> Parts:
    """Return the order of groups, the largest first."""
    return ranked_groups(groups, np.argsort(-priority, kind="stable").tolist())


def held(
    output: Callable[[Tensor], Tensor],
    ends: Ends,
    orders: dict[str, Parts],
    found: Found,
) -> None:
    """Add the areas under the curves of each order, and of the groups of the plain sum by chance."""
    chances = chances_of_groups(orders[PLAIN])
    checked = verify(output, ends, [*orders.values(), *chances], ROWS)
    curves = [checked.curves, *checked.chances]
    areas = {name: (one.deletion_area, one.insertion_area) for name, one in zip(orders, curves, strict=False)}
    by_chance = [(one.deletion_area, one.insertion_area) for one in curves[len(orders) :]]
    areas["groups by chance"] = tuple(np.mean(by_chance, axis=0).tolist())
    for name, (deletion, insertion) in areas.items():
        found.deletion.setdefault(name, []).append(deletion)
        found.insertion.setdefault(name, []).append(insertion)


# ---------------------------------------------------------------------- contrasts
class Contrast(nn.Module):
    """Of logits a combination, (B, 1)."""

    def __init__(self, module: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.module, self.weights = module, weights

    def forward(self, x: Tensor) -> Tensor:
        """Return it for pictures (B, 3, H, W)."""
        logits: Tensor = self.module(x)
        return logits @ self.weights[:, None]


@dataclass(frozen=True)
class TwoKinds:
    """A drawing with shapes of two kinds, both of which the network sees."""

    pixels: NDArray[np.uint8]
    kinds: tuple[int, int]
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]


def two_kinds(count: int, network: KindsPresent) -> Iterator[TwoKinds]:
    """Yield drawings held out with shapes of two kinds."""
    number = HELD_OUT
    while count:
        drawing = draw(number)
        number += 1
        kinds = sorted(set(drawing.kinds.tolist()))
        if len(kinds) == 2 and bool((network(network.normalise(drawing.pixels)[None])[0, kinds] > 0).all()):
            masks = [drawing.masks[drawing.kinds == kind].any(0) for kind in kinds]
            yield TwoKinds(drawing.pixels, (kinds[0], kinds[1]), (masks[0], masks[1]))
            count -= 1


def contrasts(count: int) -> list[Row]:
    """Return where maps of one output and of a contrast point."""
    network = KindsPresent()
    on_own: dict[tuple[str, str], list[float]] = {}
    on_others: dict[tuple[str, str], list[float]] = {}
    for one in two_kinds(count, network):
        x = network.normalise(one.pixels)
        for baseline in CONTRAST_BASELINES:
            start = network.normalise(image_baseline(baseline, one.pixels))  # type: ignore[arg-type]
            for (a, b), (own, others) in ((one.kinds, one.masks), (one.kinds[::-1], one.masks[::-1])):
                plain, contrast = torch.zeros(2, len(KINDS))
                plain[a] = contrast[a] = 1
                contrast[b] = -1
                for name, weights in (("f(a)", plain), ("f(a) − f(b)", contrast)):
                    found = attributed(Contrast(network, weights), x, start, 0).sum(0).numpy()
                    for shares, part, mask in ((on_own, found, own), (on_others, -found, others)):
                        positive = part.clip(min=0)
                        share = float(positive[mask].sum() / positive[own | others].sum())
                        shares.setdefault((name, baseline), []).append(share)
    return [
        {
            "map of": name,
            "baseline": baseline,
            "maps": len(on_own[name, baseline]),
            "positive part on a": interval(on_own[name, baseline]),
            "negative part on b": interval(on_others[name, baseline]),
        }
        for name, baseline in on_own
    ]


# ---------------------------------------------------------------------- tables
def interval(values: list[float]) -> dict[str, float]:
    """Return the mean and its 95 % confidence interval, as a table shows a figure with two others."""
    mean, error = (
        float(np.mean(values)),
        1.96 * float(np.std(values, ddof=min(1, len(values) - 1)) / np.sqrt(len(values))),
    )
    return {"median": round(mean, 3), "low": round(mean - error, 3), "high": round(mean + error, 3)}


def absolute(found: dict[str, Found]) -> list[Row]:
    """Return the mean areas of each order."""
    return [
        {
            "inputs": kind,
            "order": name,
            "number": len(areas),
            "deletion": interval(areas),
            "insertion": interval(of_kind.insertion[name]),
        }
        for kind, of_kind in found.items()
        for name, areas in of_kind.deletion.items()
    ]


def differences(found: dict[str, Found]) -> list[Row]:
    """Return by how much each order is better than the plain sum, on the same inputs: positive is better."""
    rows: list[Row] = []
    for kind, of_kind in found.items():
        for name in of_kind.deletion:
            if name == PLAIN:
                continue
            sooner = np.array(of_kind.deletion[PLAIN]) - np.array(of_kind.deletion[name])
            later = np.array(of_kind.insertion[name]) - np.array(of_kind.insertion[PLAIN])
            rows.append(
                {
                    "inputs": kind,
                    "order": name,
                    "deletion, better by": interval(sooner.tolist()),
                    "insertion, better by": interval(later.tolist()),
                }
            )
    return rows
