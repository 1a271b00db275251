"""TensorMask R50-FPN at 800 × 1333 on the CPU: masks evaluated where a detection survived, against the dense head.

``python benchmarks/tensormask.py [--threads N]`` writes ``benchmarks/results.tensormask.json``. Each way runs in
processes of its own, in turns, so that the peak of its memory is its own; told is the fastest of three. Weights are
random and the likeliest twenty detections are kept: time depends on their number and levels, not on what they are.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results.tensormask.json"
HEIGHT, WIDTH = 800, 1333
DETECTIONS = 20


def measure(way: str, threads: int) -> dict[str, Any]:
    """Return seconds and peak memory of one way, in this process."""
    from intgrads.detections.detectron import build_tensormask, fold_normalisation, read_config
    from intgrads.detections.swap_align import swap_align2nat
    from intgrads.detections.tensormask import ClassLogits

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = build_tensormask(read_config()).eval().requires_grad_(False)
    fold_normalisation(network)
    network = network.to(memory_format=torch.channels_last)
    network.most_detections = DETECTIONS
    x = torch.randn(1, 3, HEIGHT, WIDTH)
    before = peak()
    started = time.perf_counter()
    told: dict[str, Any] = {}
    if way == "attribution step":
        x.requires_grad_()
        found = network.detect(network.features(x.detach()), 0.0)
        started = time.perf_counter()
        torch.autograd.grad(ClassLogits(network, found.place(0))(x).sum(), x)
    else:
        with torch.no_grad():
            features = network.features(x)
            told["backbone_seconds"] = round(time.perf_counter() - started, 1)
            found = network.detect(features, 0.0)
            told["without_masks_seconds"] = round(time.perf_counter() - started, 1)
            if way == "where a detection survived":
                network.masks(features, found)
            else:
                for level, fused in network.head.mask_features(features, range(len(features))).items():
                    for window in range(len(network.windows)):
                        swap_align2nat(network.head.mask_map(fused, window), 2**level)
        told |= {"detections": len(found), "levels": sorted(set(found.levels.tolist()))}
    seconds = time.perf_counter() - started
    return {"way": way, "seconds": round(seconds, 1), **told, "peak_mb": peak(), "peak_mb_before": before}


def peak() -> int:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure each way in a process of its own and write what was found."""
    parser = argparse.ArgumentParser(description="TensorMask R50-FPN at 800 × 1333 on the CPU.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", help="measure this one, here")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.threads)))
        return
    best: dict[str, dict[str, Any]] = {}
    for _ in range(3):
        for way in ("where a detection survived", "dense", "attribution step"):
            command = [sys.executable, __file__, "--threads", str(given.threads), "--way", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            print(row, flush=True)
            if way not in best or row["seconds"] < best[way]["seconds"]:
                best[way] = row
    machine = {"processor": platform.machine(), "threads": given.threads, "torch": torch.__version__}
    found = {"machine": machine, "size": [HEIGHT, WIDTH], "rows": list(best.values())}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
