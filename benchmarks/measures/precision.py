"""What less precision costs and gives.

The error is that of the map beside float32's: the norm of the difference over the norm, and Spearman's rank
correlation. The demo network is asked about the cat, BiT with random weights about noise, from black both.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
import ways
from intgrads import integrated_gradients
from intgrads.archives.archive import open_archive, write_archive
from intgrads.networks.family import Order
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import decode_picture
from intgrads.settings import Settings
from intgrads.speed.precision import PRECISIONS, Precision, at_precision, pays
from networks import named
from options import Options, Row, Tables
from scipy.stats import spearmanr
from timing import Action, alternate, spread
from torch import Tensor, nn

PICTURE = Path(__file__).parents[2] / "examples" / "cat.jpg"


def measure(options: Options) -> Tables:
    """Return the rows of the table, a network at a precision each."""
    rows = []
    if options.wants("demo-image"):
        module, ends = demo(options.device)
        rows += compare("demo-image", module, ends, 4 if options.tiny else 50, options)
    if not options.tiny and options.wants("BiT R50x1"):
        module, x = ways.ready(named("BiT R50x1"), options.device, prepared=True)
        rows += compare("BiT R50x1", module, (x, 0 * x), 50, options)
    return {"precision": rows}


def demo(device: torch.device) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return the demo network as a worker has it, and the ends of the path: the cat and black."""
    with tempfile.TemporaryDirectory() as directory:
        write_archive(Order("demo-image", None, None, Settings()), Path(directory))
        network = open_archive(Path(directory), device).network
    assert isinstance(network, ImageClassifier)
    spec = network.picture
    pixels = spec.resize(decode_picture(PICTURE.read_bytes(), "data", 10**8))
    x, baseline = (spec.normalise(p)[None].to(device) for p in (pixels, np.zeros_like(pixels)))
    return network.module, (x, baseline)


def compare(name: str, module: nn.Module, ends: tuple[Tensor, Tensor], steps: int, options: Options) -> list[Row]:
    """Return a row for each precision."""
    x, baseline = ends
    rows = ways.rows_at_once(module, x)

    def at(precision: Precision) -> Tensor:
        found = integrated_gradients(
            modules[precision], x, baseline, n_steps=steps, chunk_rows=rows, keep_gradients=False
        )
        return found.integrated_gradients.double()

    modules = {precision: at_precision(module, precision) for precision in PRECISIONS}
    others: dict[str, Action] = {precision: partial(at, precision) for precision in PRECISIONS[1:]}
    _, ratios = alternate(lambda: at("float32"), others, options.rounds, options.device)
    exact = at("float32")
    table: list[Row] = []
    for precision in PRECISIONS:
        found = at(precision)
        table.append(
            {
                "network": name,
                "precision": precision,
                "time / float32's": spread(ratios[precision]) if precision in ratios else 1,
                "error of IG, %": round(100 * float((found - exact).norm() / exact.norm()), 2),
                "rank correlation": round(float(spearmanr(found.flatten(), exact.flatten()).statistic), 4),
                "served": "yes" if precision == "float32" or pays(options.device) else "no, float32 instead",
            }
        )
    return table
