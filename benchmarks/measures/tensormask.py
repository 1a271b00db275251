"""TensorMask R50-FPN at 800 × 1333: masks evaluated where a detection survived, against the dense head.

Each way runs in processes of its own, in turns, so that the peak of its memory is its own; told is the fastest of the
rounds, three at most. Weights are random and the likeliest twenty detections are kept: time depends on their number
and levels, not on what they are.
"""

from __future__ import annotations

import torch
from options import Options, Row, Tables
from timing import in_own_process, resident, seconds

SIZE = (800, 1333)
TINY = (128, 160)
DETECTIONS = 20
WAYS = {
    "where a detection survived": "masks where a detection survived",
    "dense": "masks at every location and level",
    "attribution step": "one step of an attribution",
}
"""As they are measured, and as the table has them."""


def measure(options: Options) -> Tables:
    """Measure each way in a process of its own."""
    best: dict[str, Row] = {}
    for _ in range(1 if options.tiny else min(3, options.rounds)):
        for way, told in WAYS.items():
            if not options.wants(told):
                continue
            row = in_own_process(once, way, TINY if options.tiny else SIZE, options)
            print(row, flush=True)
            if way not in best or float(str(row["seconds"])) < float(str(best[way]["seconds"])):
                best[way] = row
    return {"tensormask": list(best.values())}


def once(way: str, size: tuple[int, int], options: Options) -> Row:
    """Return seconds and peak memory of one way; for a process of its own."""
    from intgrads.detections.detectron import build_tensormask, fold_normalisation, read_config
    from intgrads.detections.swap_align import swap_align2nat
    from intgrads.detections.tensormask import ClassLogits

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = build_tensormask(read_config()).eval().requires_grad_(False)
    fold_normalisation(network)
    network = network.to(options.device).to(memory_format=torch.channels_last)
    network.most_detections = DETECTIONS
    x = torch.randn(1, 3, *size, device=options.device)
    masks = None
    if way == "attribution step":
        x.requires_grad_()
        found = network.detect(network.features(x.detach()), 0.0)
        logits = ClassLogits(network, found.place(0))
        total = seconds(lambda: torch.autograd.grad(logits(x).sum(), x), options.device)
    else:
        with torch.no_grad():
            features = network.features(x)
            found = network.detect(features, 0.0)

            def dense() -> None:
                for level, fused in network.head.mask_features(features, range(len(features))).items():
                    for window in range(len(network.windows)):
                        swap_align2nat(network.head.mask_map(fused, window), 2**level)

            before = seconds(lambda: network.detect(network.features(x), 0.0), options.device)
            survived = way == "where a detection survived"
            masks = seconds((lambda: network.masks(features, found)) if survived else dense, options.device)
            total = before + masks
    peak = torch.cuda.max_memory_allocated() / 2**20 if options.device.type == "cuda" else resident("VmHWM") / 1024
    return {
        "": WAYS[way],
        "seconds": round(total, 1),
        "of them masks": None if masks is None else round(masks, 1),
        "peak MB": round(peak),
    }
