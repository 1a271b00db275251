"""Do the values of groups say something true? What becomes of an output as groups go or come, in several orders.

The groups of an input (superpixels of a picture, words of a sentence) are replaced by the baseline one after the other,
and after each the network's output for the predicted class is taken: deletion (Petsiuk, Das, Saenko, BMVC 2018). In
reverse, from the baseline, the first groups come first: insertion. The figure is the mean of the output along the way,
as a part of the way from f(x') to f(x): a good order lets it fall soon under deletion (low) and rise soon under
insertion (high). The orders are

- ``value``: v(S), largest first; it has no sign, so that what lowered the output goes early as well;
- ``signed value``: the same, with the sign of IDG(S), from what raised the output to what lowered it;
- ``sum of IG``: the plain sum over the group, largest first;
- ``random``: the mean of ten orders.

Pictures are those of scikit-image and scikit-learn, sentences the first held-out ones of each source of
``training/demo_text.split.json``, downloaded by pip.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from demo_text import SPLIT, download, read_sentences
from intgrads.archives.archive import open_archive, write_archive
from intgrads.call import Call
from intgrads.integral.attribution import PathIntegral
from intgrads.integral.batches import integrate
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.groups import GroupValues, group_values
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import quadrature
from intgrads.networks.family import Order
from intgrads.reading import read_request
from intgrads.settings import Settings
from intgrads.subject import Classifier, Integrand
from numpy.typing import NDArray
from options import Options, Row, Tables
from sklearn.datasets import load_sample_image
from torch import nn

Array = NDArray[np.float64]
STEPS = 100
ROWS = 16
SEED = 0
SENTENCES = 50
"""Of each source."""
PICTURES = ("chelsea", "coffee", "astronaut", "rocket")
PHOTOS = ("china.jpg", "flower.jpg")


def measure(options: Options) -> Tables:
    """Return the rows of the table, a family and an order each."""
    models = [model for model in ("demo-text", "demo-image") if options.wants(model)][: 1 if options.tiny else None]
    found = {model: of_network(model, 1 if options.tiny else SENTENCES) for model in models}
    return {"faithfulness": [row for model in sorted(found) for row in found[model]]}


def requests(model: str, sentences: int) -> Iterator[dict[str, Any]]:
    """Return what is asked of a demo archive, as JSON."""
    if model == "demo-image":
        pictures = [getattr(skimage.data, name)() for name in PICTURES] + [load_sample_image(name) for name in PHOTOS]
        for pixels in pictures:
            yield {"img_data": pixels.tolist(), "groups": "superpixels", "group_pixels": True}
            yield {"img_data": pixels.tolist(), "groups": "superpixels", "group_pixels": False}
        return
    held_out = json.loads(SPLIT.read_text())["held_out"]
    rated = read_sentences(download())
    for source, keys in held_out.items():
        chosen = set(keys[:sentences])
        for sentence in rated:
            if sentence.source == source and sentence.key in chosen:
                yield {"sequence": sentence.text, "groups": "words"}


def load(model: str) -> Classifier:
    """Return a demo network."""
    with tempfile.TemporaryDirectory() as folder:
        write_archive(Order(model, None, None, Settings()), Path(folder))
        return open_archive(Path(folder)).network


def orders(values: GroupValues, count: int) -> dict[str, list[Array]]:
    """Return by how much each group should go first, for each order."""
    random = np.random.default_rng(SEED)
    return {
        "value": [values.values[:count]],
        "signed value": [(np.sign(values.idg) * values.values)[:count]],
        "sum of IG": [values.integrated_gradients[:count]],
        "random": [random.random(count) for _ in range(10)],
    }


class Ablation:
    """One input, its groups, and the network's output where some of them are replaced by the baseline."""

    def __init__(self, subject: Integrand, module: nn.Module) -> None:
        assert subject.family is not None
        self.forward = subject.bind(module)
        self.x, self.baseline = subject.input, subject.baseline
        integral = PathIntegral(
            StraightPath(self.x, self.baseline), FixedNodes(quadrature("gausslegendre", STEPS)), False
        )
        started = time.perf_counter()
        integrate([self.forward], [integral], ROWS)
        integrated = time.perf_counter()
        attribution = integral.finish()
        self.target = attribution.targets[0]
        step = subject.by_unit(self.x.double() - self.baseline.double()).numpy()
        units = subject.by_unit(attribution.integrated_gradients[0].double()).numpy()
        before = time.perf_counter()
        self.values = group_values(units, step, subject.family.members, subject.family.units)
        self.share = (time.perf_counter() - before) / (integrated - started)
        self.ends = attribution.output[self.target].item(), attribution.baseline_output[self.target].item()
        # Tokens are listed beside the words they make up; words and superpixels share the input out.
        kinds = np.array(subject.family.kinds)
        self.listed = np.flatnonzero(np.isin(kinds, ["word", "superpixel"]))
        self.members = subject.family.members[self.listed]
        self.places = subject.by_unit(torch.arange(self.x.numel()).view(self.x.shape))

    def curve(self, order: list[int], insertion: bool) -> float:
        """Return the mean output along an order, from f(x') = 0 to f(x) = 1."""
        points = []
        start, end = (self.baseline, self.x) if insertion else (self.x, self.baseline)
        point, source = start.flatten().clone(), end.flatten()
        for group in order:
            places = self.places[torch.from_numpy(self.members[group])].flatten()
            point[places] = source[places]
            points.append(point.view(self.x.shape).clone())
        outputs = []
        with torch.no_grad():
            for first in range(0, len(points), ROWS):
                outputs += self.forward(torch.stack(points[first : first + ROWS]))[:, self.target].tolist()
        at_x, at_baseline = self.ends
        return float(np.mean((np.array(outputs) - at_baseline) / (at_x - at_baseline)))


def of_network(model: str, sentences: int) -> list[Row]:
    """Return the rows of the table for one network."""
    network = load(model)
    settings = Settings()
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    shares = []
    for content in requests(model, sentences):
        request, _ = read_request(Call(content), settings, network.request)
        integrand = network.read(request, settings)[0].look(lambda: None).integrand
        assert integrand is not None
        ablation = Ablation(integrand, network.module)
        shares.append(ablation.share)
        if abs(ablation.ends[0] - ablation.ends[1]) < 0.5 or len(ablation.listed) < 4:
            continue  # nothing to fall, or no order to speak of
        family = "words" if model == "demo-text" else "superpixels" + (" and pixels" if content["group_pixels"] else "")
        count = len(ablation.listed)
        listed = GroupValues(*(getattr(ablation.values, name)[ablation.listed] for name in GroupValues.__annotations__))
        for name, priorities in orders(listed, count).items():
            curves = found.setdefault((family, name), {"deletion": [], "insertion": []})
            ranked = [np.argsort(-priority, kind="stable").tolist() for priority in priorities]
            curves["deletion"].append(float(np.mean([ablation.curve(order, False) for order in ranked])))
            curves["insertion"].append(float(np.mean([ablation.curve(order, True) for order in ranked])))
    print(f"{model}: the groups took {100 * float(np.median(shares)):.2f} % of the integration's time")
    return [
        {
            "network": model,
            "family": family,
            "order": name,
            "inputs": len(curves["deletion"]),
            "deletion": round(float(np.mean(curves["deletion"])), 3),
            "insertion": round(float(np.mean(curves["insertion"])), 3),
        }
        for (family, name), curves in found.items()
    ]
