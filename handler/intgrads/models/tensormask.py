"""TensorMask in an archive, alone or beside a classifier: its files, read as one is made and as it is loaded.

What detectron2 is needed for is imported where it is used: an archive without a TensorMask does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrads.checkpoints import fit, read_weights
from intgrads.errors import CheckpointError
from intgrads.labels import COCO, Labels
from intgrads.models import TENSORMASK
from intgrads.models.family import Order
from intgrads.segmentation.segmenter import Segmenter
from intgrads.settings import Settings


@dataclass(frozen=True)
class TensorMaskIngredients:
    """What goes into the archive.

    Attributes
    ----------
    config : dict
        detectron2's configuration, all of it, as JSON.
    weights : dict of str to Tensor
    labels : list of str
        One for each class.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    labels: list[str]


def prepare_tensormask(order: Order) -> TensorMaskIngredients:
    """Read a TensorMask's weights and configuration.

    Raises
    ------
    CheckpointError
        If a file is missing or does not fit, or there is no detectron2.
    """
    assert order.tensormask is not None
    try:
        from intgrads.segmentation.detectron import PUBLISHED, build_tensormask, read_config

        config = read_config(order.tensormask_config or PUBLISHED)
        with torch.random.fork_rng():
            expected = build_tensormask(config).state_dict()
    except (ImportError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise CheckpointError(str(error) or type(error).__name__) from None
    weights = {
        name: weight
        for name, weight in read_weights(order.tensormask).items()
        if not name.startswith("anchor_generator.cell_anchors")
    }
    count = config["MODEL"]["TENSOR_MASK"]["NUM_CLASSES"]
    labels = list(COCO) if count == len(COCO) else [f"class {k}" for k in range(count)]
    option, given = "--tensormask-labels", order.tensormask_labels
    if order.model == TENSORMASK.name and order.labels is not None:
        if given is not None:
            raise CheckpointError("name a TensorMask's classes once: --labels or --tensormask-labels, not both")
        option, given = "--labels", order.labels
    if given is not None:
        labels = given
    if len(labels) != count:
        raise CheckpointError(f"{option} names {len(labels)} and the TensorMask has {count} classes; give one each")
    return TensorMaskIngredients(config, fit(weights, expected, order.tensormask), labels)


def open_segmenter(
    config: dict[str, Any], labels: list[str], weights: dict[str, Tensor], settings: Settings, device: torch.device
) -> Segmenter:
    """Build a TensorMask from what its archive holds.

    Raises
    ------
    ImportError
        If there is no detectron2.
    """
    from intgrads.segmentation.detectron import build_tensormask, fold_normalisation

    network = build_tensormask(config)
    network.load_state_dict(weights)
    fold_normalisation(network.eval().requires_grad_(False))
    sizes = config["INPUT"]
    mean, std = (network.get_buffer(name).flatten().double() / 255 for name in ("pixel_mean", "pixel_std"))
    if network.bgr:
        mean, std = mean.flip(0), std.flip(0)
    network = network.to(device)
    if device.type == "cpu":
        network = network.to(memory_format=torch.channels_last)
    (r, g, b), (r_std, g_std, b_std) = mean.tolist(), std.tolist()
    return Segmenter(
        network,
        Labels(labels),
        mean=(r, g, b),
        std=(r_std, g_std, b_std),
        min_size=settings.min_size_test or sizes["MIN_SIZE_TEST"],
        max_size=settings.max_size_test or sizes["MAX_SIZE_TEST"],
    )
