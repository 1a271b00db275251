"""TensorMask in an archive, alone or beside a classifier: its files, read as one is made and as it is loaded.

What detectron2 is needed for is imported where it is used: an archive without a TensorMask does without.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from intgrads.detections.detector import Detector
from intgrads.detections.segmenter import Segmenter
from intgrads.errors import CheckpointError
from intgrads.labels import COCO, Labels
from intgrads.networks import TENSORMASK
from intgrads.networks.checkpoints import fit, read_weights
from intgrads.networks.family import Order
from intgrads.stored import Stored

WEIGHTS = "tensormask.safetensors"


def write_tensormask(order: Order, directory: Path) -> dict[str, Any]:
    """Write the TensorMask of an archive, if it is to have one.

    Returns
    -------
    dict
        What its manifest says of it: ``config``, detectron2's configuration, all of it; ``labels``, one for each class.
        Empty where it has none.

    Raises
    ------
    CheckpointError
        If a file is missing or does not fit, or there is no detectron2.
    """
    if order.tensormask is None:
        return {}
    try:
        from intgrads.detections.detectron import PUBLISHED, build_tensormask, read_config

        config = read_config(order.tensormask_config or PUBLISHED)
        with torch.random.fork_rng():
            expected = build_tensormask(config).state_dict()
    except (ImportError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError, TypeError) as error:
        # A configuration's sizes may be any numbers, also negative ones and such that no memory holds.
        raise CheckpointError((str(error).strip() or type(error).__name__).splitlines()[0]) from None
    weights = {
        name: weight
        for name, weight in read_weights(order.tensormask).items()
        if not name.startswith("anchor_generator.cell_anchors")
    }
    labels = _labels(order, config["MODEL"]["TENSOR_MASK"]["NUM_CLASSES"])
    save_file(fit(weights, expected, order.tensormask), directory / WEIGHTS)
    return {"config": config, "labels": labels}


def _labels(order: Order, count: int) -> list[str]:
    """Return the labels of a TensorMask's classes: the user's, COCO's, or their numbers."""
    option, given = "--tensormask-labels", order.tensormask_labels
    if order.model == TENSORMASK.name and order.labels is not None:
        if given is not None:
            raise CheckpointError("name a TensorMask's classes once: --labels or --tensormask-labels, not both")
        option, given = "--labels", order.labels
    if given is None:
        return list(COCO) if count == len(COCO) else [f"class {k}" for k in range(count)]
    if len(given) != count:
        raise CheckpointError(f"{option} names {len(given)} and the TensorMask has {count} classes; give one each")
    return given


def open_detector(stored: Stored, _: object) -> Detector:
    """Return the TensorMask of an archive, prepared to run on its device.

    Raises
    ------
    ImportError
        If there is no detectron2.
    """
    from intgrads.detections.detectron import build_tensormask, fold_normalisation

    stated, settings = stored.manifest["tensormask"], stored.settings
    config = stated["config"]
    network = build_tensormask(config)
    network.load_state_dict(load_file(stored.directory / WEIGHTS))
    fold_normalisation(network.eval().requires_grad_(False))
    sizes = config["INPUT"]
    mean, std = (network.get_buffer(name).flatten().double() / 255 for name in ("pixel_mean", "pixel_std"))
    if network.bgr:
        mean, std = mean.flip(0), std.flip(0)
    network = network.to(stored.device)
    if stored.device.type == "cpu":
        network = network.to(memory_format=torch.channels_last)
    (r, g, b), (r_std, g_std, b_std) = mean.tolist(), std.tolist()
    segmenter = Segmenter(
        network,
        Labels(stated["labels"]),
        mean=(r, g, b),
        std=(r_std, g_std, b_std),
        min_size=settings.min_size_test or sizes["MIN_SIZE_TEST"],
        max_size=settings.max_size_test or sizes["MAX_SIZE_TEST"],
    )
    return Detector(segmenter, stored.examples)
