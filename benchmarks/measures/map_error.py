"""Whether the error that an answer states is the true one.

For each input of eighteen networks the integral is computed at 1,025 nodes, or at 4,097 where the gradient jumps, and
the map of every rule, and of a refinement, is compared with it: the true relative L2 error beside the estimated one.
Cases of which the true error is less than four times that of the reference itself are left out. Then the evaluations
that a refinement takes to 5, 2 and 1 %, beside those that each of Captum's five rules would need in hindsight: the
least for which the median of its true errors over the inputs is within the tolerance.

Networks: the demos' (EfficientNet-Lite0, ReLU6; MiniLM, GELU), BiT with GroupNorm trained on digits, TensorMask trained
on shapes, three convolutional networks trained here on digits (ReLU, SiLU, GELU), and random ones of timm, transformers
and ours, whose batch norms have the statistics of pictures. Reference integrals are kept in a temporary folder. The
picture of ``docs/error.md`` is drawn along with it.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import skimage.data
import timm
import torch
from intgrads.archives.archive import write_archive
from intgrads.call import Call
from intgrads.integral.convergence import Samples
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.integrated_gradients import integrated_gradients
from intgrads.integral.interpolation import ends_of_gaps, gap_integrals
from intgrads.integral.map_error import fixed_models, map_norms
from intgrads.integral.quadrature import METHODS, Method, quadrature
from intgrads.integral.sketch import DIMENSIONS, sketch
from intgrads.networks import bit, lanet
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.settings import Settings
from numpy.typing import NDArray
from options import Options, Tables
from PIL import Image
from scipy.interpolate import CubicSpline
from sklearn.datasets import load_digits
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]

Array = NDArray[np.float64]
PICTURES = ("chelsea", "coffee", "astronaut", "rocket")
SENTENCES = (
    "the camera is surprisingly good , but the battery is a disaster .",
    "i would not recommend this film to anyone .",
    "An unforgettable, warm and funny story that kept me smiling for days.",
    "It is fine.",
    "The plot was never boring and the acting could hardly have been better, though the ending disappointed me.",
)
GAPS, MORE_GAPS = 1024, 4096
STEPS = (10, 25, 50, 100)
TOLERANCES = (0.05, 0.02, 0.01)
RULES = {
    "gauss": "Gauss–Legendre",
    "riemann_left": "left",
    "riemann_right": "right",
    "riemann_middle": "middle",
    "riemann_trap": "trapezoid",
    "tolerance": "a tolerance",
}
LEAST_JUDGED = 1e-5
ROUGH = ("ReLU", "HardSwish")
CACHE = Path(tempfile.gettempdir()) / "intgrads-map-error" / str(DIMENSIONS)
SHOWN = ("demo-image", "demo-text", "bit-digits", "xlnet random", "detections")


@dataclass(frozen=True)
class Case:
    """One input of a network: what is integrated."""

    network: str
    kind: str
    name: str
    module: nn.Module
    x: Tensor
    baseline: Tensor
    target: int

    @property
    def gaps(self) -> int:
        """Of the reference: more where the gradient jumps."""
        return MORE_GAPS if any(word in self.kind for word in ROUGH) else GAPS


def _case(network: str, kind: str, name: str, module: nn.Module, ends: tuple[Tensor, Tensor]) -> Case:
    with torch.no_grad():
        return Case(network, kind, name, module, *ends, int(module(ends[0][None])[0].argmax()))


def _png(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(getattr(skimage.data, name)()).save(buffer, "PNG")
    return buffer.getvalue()


def _small(name: str, side: int) -> Tensor:
    picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((side, side))
    return torch.from_numpy(np.asarray(picture) / 127.5 - 1).permute(2, 0, 1).float()


def _service(order: Order) -> Service[Any]:
    folder = Path(tempfile.mkdtemp())
    write_archive(order, folder)
    return Service.load(folder, torch.device("cpu"))


def _served(service: Service[Any], network: str, kind: str, name: str, body: bytes, **fields: bytes) -> Case:
    """Return what a request to an archive integrates."""
    job = service.receive([Call(form={"data": body, "n_steps": b"1", **fields})]).jobs[0]
    part = job.parts[0]
    path = part.integrals[0].path
    if path.targets is None:
        return _case(network, kind, name, part.forward, (path.input, path.baseline))
    return Case(network, kind, name, part.forward, path.input, path.baseline, path.targets[0])


def demos() -> Iterator[Case]:
    """Yield pictures and sentences of the two demos."""
    text = _service(Order("demo-text", None, None, Settings(threads=1)))
    for k, sentence in enumerate(SENTENCES):
        yield _served(text, "demo-text", "GELU, attention", f"sentence {k + 1}", sentence.encode())
    pictures = _service(Order("demo-image", None, None, Settings(threads=1)))
    for name in PICTURES[:3]:
        yield _served(pictures, "demo-image", "ReLU6", name, _png(name))


def detections() -> Iterator[Case]:
    """Yield objects on drawn shapes, their class and their mask."""
    from shapes import HELD_OUT, draw
    from shared.detections import KINDS, SHAPES, SHAPES_CONFIG
    from shared.toys import encoded

    order = Order("tensormask", None, KINDS, Settings(threads=1), tensormask=SHAPES, tensormask_config=SHAPES_CONFIG)
    service = _service(order)
    for k in range(2):
        body = encoded(draw(HELD_OUT + k).pixels)
        for what in (b"class", b"mask"):
            name = f"drawing {k + 1}, {what.decode()}"
            yield _served(service, "detections", "ReLU", name, body, target_instance=b"0", target=what)


def digits() -> Iterator[Case]:
    """Yield digits of a trained BiT, and of three networks that are trained here."""
    from bit_digits import ARCHITECTURE, WEIGHTS, normalised
    from bit_digits import digits as held_out

    bit.ARCHITECTURES["bit-digits"] = ARCHITECTURE
    service = _service(Order("bit-digits", WEIGHTS, [str(k) for k in range(10)], Settings(threads=1)))
    for k, x in enumerate(normalised(held_out()[1][:3])):
        module = service.network.module
        yield _case("bit-digits", "ReLU, GroupNorm", f"digit {k + 1}", module, (x, -torch.ones_like(x)))
    data = load_digits()
    x, y = torch.tensor(data.images / 8 - 1).float()[:, None], torch.tensor(data.target)
    for name, act in (("ReLU", nn.ReLU), ("SiLU", nn.SiLU), ("GELU", nn.GELU)):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), act(), nn.Conv2d(16, 32, 3, stride=2, padding=1), act(),
            nn.Conv2d(32, 32, 3, padding=1), act(), nn.Flatten(), nn.Linear(512, 64), act(), nn.Linear(64, 10),
        )  # fmt: skip
        optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
        for _ in range(15):
            for rows in torch.randperm(1500).view(15, 100):
                loss = nn.functional.cross_entropy(network(x[rows]), y[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        network.eval().requires_grad_(False)
        for k in range(3):
            yield _case(f"digits {name}", name, f"digit {k + 1}", network, (x[1600 + k], -torch.ones_like(x[0])))


def random_pictures() -> Iterator[Case]:
    """Yield pictures of random networks of timm, and of a random LaNet."""
    for name, kind, options in (
        ("resnet18", "ReLU", {}),
        ("resnet18", "ReLU, GroupNorm", {"norm_layer": lambda channels, **_: nn.GroupNorm(8, channels)}),
        ("regnety_002", "ReLU", {}),
        ("mobilenetv3_small_100", "HardSwish", {}),
        ("efficientnet_b0", "SiLU", {}),
        ("convnext_atto", "GELU", {}),
        ("vit_tiny_patch16_224", "GELU, attention", {"img_size": 64}),
    ):
        torch.manual_seed(0)
        module = timm.create_model(name, num_classes=10, **options)
        _settle(module, 64)
        title = f"{name} random" + (" GroupNorm" if "GroupNorm" in kind else "")
        for picture in PICTURES[:2]:
            x = _small(picture, 64)
            yield _case(title, kind, picture, module, (x, -torch.ones_like(x)))
    torch.manual_seed(0)
    module = lanet.LaNet().build({"cells": 4, "channels": 8, "stem_multiplier": 3, "num_classes": 10})
    _settle(module, 32)
    for picture in PICTURES[:2]:
        x = _small(picture, 32)
        yield _case("lanet random", "ReLU", picture, module, (x, -torch.ones_like(x)))


def _settle(module: nn.Module, side: int) -> None:
    """Give batch norms the statistics of pictures, and freeze."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            module.train()(torch.stack([_small(name, side) for name in PICTURES]))
    module.eval().requires_grad_(False)


class _FromEmbeddings(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(inputs_embeds=x).logits
        return logits


def random_texts() -> Iterator[Case]:
    """Yield texts of random networks of transformers."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        XLNetConfig,
        XLNetForSequenceClassification,
    )

    bert = {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    xlnet = {"vocab_size": 100, "d_model": 64, "n_layer": 4, "n_head": 4, "d_inner": 128, "initializer_range": 0.2}
    for title, kind, make in (
        ("bert random ReLU", "ReLU, attention", lambda: BertForSequenceClassification(
            BertConfig(**bert, intermediate_size=256, hidden_act="relu", initializer_range=0.1))),
        ("bert random SiLU", "SiLU, attention", lambda: BertForSequenceClassification(
            BertConfig(**bert, intermediate_size=256, hidden_act="silu", initializer_range=0.15))),
        ("xlnet random", "GELU, attention", lambda: XLNetForSequenceClassification(XLNetConfig(**xlnet))),
    ):  # fmt: skip
        torch.manual_seed(0)
        module = make().eval().requires_grad_(False)  # type: ignore[no-untyped-call]
        table = module.get_input_embeddings().weight
        random = torch.Generator().manual_seed(1)
        for k in range(3):
            x = table[torch.randint(1, 100, (14,), generator=random)].clone()
            yield _case(title, kind, f"text {k + 1}", _FromEmbeddings(module), (x, table[0].expand_as(x).clone()))


@dataclass(frozen=True)
class Dense:
    """A path at 1,025 nodes or more, and what follows for any rule."""

    samples: Samples

    @classmethod
    def of(cls, case: Case) -> Dense:
        """Compute it, or read what was computed before."""
        CACHE.mkdir(parents=True, exist_ok=True)
        file = CACHE / f"{case.network} {case.name} {case.gaps}.npz".replace(" ", "_")
        alphas = np.arange(case.gaps + 1) / case.gaps
        if not file.exists():
            step, rows = (case.x - case.baseline).double(), []
            for part in np.array_split(alphas, case.gaps // 16):
                points = torch.stack([torch.lerp(case.baseline, case.x, float(a)) for a in part]).requires_grad_()
                values = case.module(points)[:, case.target]
                along = torch.autograd.grad(values.sum(), points)[0].double() * step
                sums = torch.stack([values.detach().double(), along.flatten(1).sum(1)], 1).numpy()
                rows.append(np.concatenate([sums, sketch(along)], axis=1))
            np.savez(file, rows=np.concatenate(rows))
        rows = np.load(file)["rows"]
        return cls(Samples(alphas, rows[:, :1], rows[:, 1:2], rows[:, None, 2:]))

    @cached_property
    def integral(self) -> Array:
        """By local cubics, (d,)."""
        return self._every(1)

    @cached_property
    def uncertainty(self) -> float:
        """How far the integral is off, over its norm: on jumps every second node is off by √3 of what it differs by."""
        off = np.linalg.norm(self._every(2) - self.integral) / np.sqrt(3)
        return float(off / np.linalg.norm(self.integral))

    def _every(self, step: int) -> Array:
        alphas, vectors = self.samples.alphas[::step], self.samples.sketches[::step, 0]
        integral: Array = gap_integrals(alphas, 4).weights(len(alphas)) @ vectors
        return integral

    def at(self, alphas: Array) -> Samples:
        """Return the path at other nodes; between its own, by cubic splines."""
        values = self._spline(alphas)
        ends = self._spline(ends_of_gaps(alphas))
        return Samples(alphas, ends[:, :1], values[:, 1:2], values[:, None, 2:])

    @cached_property
    def _spline(self) -> CubicSpline:
        own = self.samples
        return CubicSpline(own.alphas, np.concatenate([own.values, own.slopes, own.sketches[:, 0]], axis=1))


def fixed_error(dense: Dense, method: Method, n: int) -> tuple[float, float, int]:
    """Return the true and the estimated error of a rule, and its evaluations."""
    rule = quadrature(method, n)
    samples = dense.at(np.array(FixedNodes(rule).start()))
    found = rule.weights_at(samples.alphas) @ samples.sketches[:, 0]
    (model,) = fixed_models(rule, samples)
    norm = float(map_norms(rule, samples)[0])
    true = float(np.linalg.norm(found - dense.integral)) / norm
    return true, max(model.norm(samples.sketches[:, 0]) / norm, 2**-24), len(samples.values)


def refined_error(case: Case, dense: Dense, tolerance: float) -> tuple[float, float, int, bool]:
    """Return the true and the estimated error of a refinement, its evaluations, and whether it converged."""
    found = integrated_gradients(
        case.module, case.x[None], case.baseline[None], case.target, tolerance=tolerance, max_evaluations=2000,
        chunk_rows=16, keep_gradients=False,
    )  # fmt: skip
    off = sketch(found.integrated_gradients)[0] - dense.integral
    true = float(np.linalg.norm(off) / np.linalg.norm(sketch(found.integrated_gradients)[0]))
    return true, float(found.attribution_error[0]), found.evaluations, bool(found.converged[0])


MAKERS: tuple[Callable[[], Iterator[Case]], ...] = (digits, random_texts, random_pictures, detections, demos)


def measure(options: Options) -> Tables:
    """Return how the estimates compare with the truth, what tolerances cost, and every case."""
    if options.tiny:
        return compare([next(digits())])
    return compare(case for make in MAKERS for case in make() if options.wants(case.network))


def compare(cases: Iterable[Case]) -> Tables:
    """Return the tables of some cases."""
    rows: list[dict[str, Any]] = []
    needs: dict[str, list[dict[tuple[str, int], float]]] = {}
    kinds: dict[str, str] = {}
    for case in cases:
        kinds[case.network] = case.kind
        dense = Dense.of(case)
        about = {"network": case.network, "kind": case.kind, "input": case.name, "reference": dense.uncertainty}
        for method in METHODS:
            for n in STEPS:
                true, estimated, evaluations = fixed_error(dense, method, n)  # type: ignore[arg-type]
                rows.append({**about, "rule": method, "evaluations": evaluations, "true": true, "estimated": estimated})
        for tolerance in TOLERANCES:
            true, estimated, evaluations, _ = refined_error(case, dense, tolerance)
            about_it = {"rule": f"tolerance={tolerance}", "evaluations": evaluations}
            rows.append({**about, **about_it, "true": true, "estimated": estimated})
        curve = {}
        for method in METHODS:
            for n in [*range(2, 40), *range(40, 260, 6)]:
                rule = quadrature(method, n)  # type: ignore[arg-type]
                off = rule.weights @ dense.at(rule.alphas).sketches[:, 0] - dense.integral
                count = len(np.union1d(rule.alphas, [0.0, 1.0]))
                curve[method, count] = float(np.linalg.norm(off) / np.linalg.norm(dense.integral))
        needs.setdefault(case.network, []).append(curve)
        print(f"{case.network}, {case.name}", file=sys.stderr)
    tables = told(rows, needs, kinds)
    if all(name in kinds for name in SHOWN):
        plots(rows, needs)
    return tables


def _judged(row: dict[str, Any]) -> bool:
    """Whether the truth is known well enough, and is not of the size of float32's rounding."""
    return bool(row["true"] > max(LEAST_JUDGED, 4 * row["reference"]))


def _rough(row: dict[str, Any]) -> bool:
    return any(word in row["kind"] for word in ROUGH)


def within(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the estimates of some cases compare with the truth."""
    ratios = np.array([row["estimated"] / row["true"] for row in rows])
    return {
        "cases": len(ratios),
        "within 2 ×": f"{np.mean((ratios >= 0.5) & (ratios <= 2)):.0%}",
        "below half": f"{np.mean(ratios < 0.5):.1%}",
        "median": f"{np.median(ratios):.2f}",
        "range": f"{ratios.min():.2f} to {ratios.max():.1f}",
    }


def told(
    rows: list[dict[str, Any]], needs: dict[str, list[dict[tuple[str, int], float]]], kinds: dict[str, str]
) -> Tables:
    """Return the tables."""
    table, costs = [], []
    for network, kind in kinds.items():
        own = [row for row in rows if row["network"] == network and _judged(row)]
        table.append({"network": network, "kind": kind, **within(own)})
        cost: dict[str, Any] = {"network": network, "kind": kind}
        for tolerance in TOLERANCES:
            refined = [row for row in rows if row["network"] == network and row["rule"] == f"tolerance={tolerance}"]
            cost[f"{tolerance:.0%}"] = int(np.median([row["evaluations"] for row in refined]))
            curves = needs[network]
            medians = {key: float(np.median([curve[key] for curve in curves])) for key in curves[0]}
            reached = [(count, method) for (method, count), error in medians.items() if error <= tolerance]
            cost[f"{tolerance:.0%}, best rule"] = ", ".join(map(str, min(reached))) if reached else "more than 250"
        costs.append(cost)
    judged = [row for row in rows if _judged(row)]
    by_rule = []
    for name, some in (
        ("with jumps", [row for row in judged if _rough(row)]),
        ("smooth", [row for row in judged if not _rough(row)]),
        ("", judged),
    ):
        if some:
            table.append({"network": f"all {name}".strip(), "kind": "", **within(some)})
        for word, rule in RULES.items():
            own = [row for row in some if row["rule"].startswith(word)]
            if own and name:
                by_rule.append({"networks": name, "rule": rule, **within(own)})
    noted = [
        {**row, **{name: float(f"{row[name]:.3g}") for name in ("true", "estimated", "reference")}} for row in rows
    ]
    return {
        "map_error-networks": table,
        "map_error-rules": by_rule,
        "map_error-cost": costs,
        "map_error-cases": noted,
    }


def plots(rows: list[dict[str, Any]], needs: dict[str, list[dict[tuple[str, int], float]]]) -> None:
    """Draw true against estimated errors, and errors against evaluations, for five networks."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(SHOWN), figsize=(15, 6), constrained_layout=True)
    for column, network in enumerate(SHOWN):
        own = [row for row in rows if row["network"] == network]
        above, below = axes[:, column]
        for word, colour, label in (("riemann", "C0", "Riemann"), ("gauss", "C1", "Gauss"), ("tol", "C3", "tolerance")):
            some = [row for row in own if row["rule"].startswith(word)]
            points = [row["true"] for row in some], [row["estimated"] for row in some]
            above.loglog(*points, ".", color=colour, label=label, alpha=0.7)
        line = np.array([1e-6, 1.0])
        above.loglog(line, line, "k-", line, line / 2, "k:", line, 2 * line, "k:", linewidth=0.7)
        above.set(title=network, xlabel="true error", ylabel="estimated" if not column else "", xlim=line, ylim=line)
        for method, colour in zip(METHODS, ("C1", "0.7", "0.8", "C0", "C2"), strict=True):
            counts = sorted(count for own_method, count in needs[network][0] if own_method == method)
            medians = [np.median([curve[method, count] for curve in needs[network]]) for count in counts]
            below.loglog(counts, medians, color=colour, label=method.replace("riemann_", ""), linewidth=1)
        refined = [row for row in own if row["rule"].startswith("tol")]
        below.loglog([r["evaluations"] for r in refined], [r["true"] for r in refined], "C3.", label="tolerance")
        below.set(xlabel="evaluations", ylabel="true error" if not column else "", ylim=(1e-4, 1.5), xlim=(4, 300))
    axes[0, 0].legend(fontsize=7)
    axes[1, 0].legend(fontsize=7)
    figure.savefig(ROOT / "docs" / "images" / "map-error.png", dpi=80)
