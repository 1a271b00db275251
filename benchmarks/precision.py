"""What less precision costs and gives: ``.venv/bin/python benchmarks/precision.py [--threads N] [--rounds N]``.

Integrated Gradients of real pictures by real networks, fifty Gauss-Legendre steps from black, at each precision. The
error is that of the integral beside float32's: the norm of the difference over the norm, and Spearman's rank
correlation. The precisions alternate, and the median of the rounds' ratios is reported.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "handler"))

from intgrads import integrated_gradients  # noqa: E402
from intgrads.archives.archive import CPU, open_archive, write_archive  # noqa: E402
from intgrads.networks.family import Order  # noqa: E402
from intgrads.pictures.classifier import ImageClassifier  # noqa: E402
from intgrads.pictures.decoding import decode_picture  # noqa: E402
from intgrads.settings import Settings  # noqa: E402
from intgrads.speed.devices import chunk_rows, memory_of_a_row  # noqa: E402
from intgrads.speed.precision import PRECISIONS, at_precision  # noqa: E402
from report import report  # noqa: E402

ORDERS = {"demo-image": Order("demo-image", None, None, Settings())}
PICTURE = ROOT / "examples" / "cat.jpg"


def measure(order: Order, rounds: int) -> list[dict[str, object]]:
    """Return a row of the table for each precision."""
    with tempfile.TemporaryDirectory() as directory:
        write_archive(order, Path(directory))
        network = open_archive(Path(directory)).network
    assert isinstance(network, ImageClassifier)
    spec = network.picture
    pixels = spec.resize(decode_picture(PICTURE.read_bytes(), "data", 10**8))
    x, baseline = (spec.normalise(p)[None] for p in (pixels, np.zeros_like(pixels)))
    rows = chunk_rows(Settings().memory_budget_mb, memory_of_a_row(network.module, spec.shape, CPU))
    modules = {precision: at_precision(network.module, precision) for precision in PRECISIONS}
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(rounds + 1):  # the first warms up
        results = {}
        for precision, module in modules.items():
            started = time.perf_counter()
            results[precision] = integrated_gradients(module, x, baseline, chunk_rows=rows, keep_gradients=False)
            seconds[precision].append(time.perf_counter() - started)
    exact = results["float32"].integrated_gradients.double()
    table = []
    for precision, result in results.items():
        found = result.integrated_gradients.double()
        times = zip(seconds["float32"][1:], seconds[precision][1:], strict=True)
        table.append(
            {
                "network": order.model,
                "precision": precision,
                "float32's time / its own": round(statistics.median(a / b for a, b in times), 2),
                "error of IG": f"{100 * (found - exact).norm() / exact.norm():.2f} %",
                "rank correlation": round(float(spearmanr(found.flatten(), exact.flatten()).statistic), 4),
                "delta / difference": f"{100 * (result.convergence_delta / result.difference).item():.1f} %",
            }
        )
    return table


def main() -> None:
    """Run and print a table; write the same as JSON beside this file."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--threads", type=int, default=1)
    parse.add_argument("--rounds", type=int, default=5)
    given = parse.parse_args()
    torch.set_num_threads(given.threads)
    results = [row for order in ORDERS.values() for row in measure(order, given.rounds)]
    machine = {"threads": given.threads, "load": os.getloadavg(), "torch": torch.__version__, "rounds": given.rounds}
    report("precision", {"machine": machine}, results)


if __name__ == "__main__":
    main()
