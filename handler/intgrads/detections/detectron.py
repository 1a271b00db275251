"""TensorMask on detectron2's parts: configuration, backbones, registry, structures. No other module of ours imports it.

With detectron2, as its users know it::

    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from intgrads.detections.detectron import add_tensormask_config

    cfg = get_cfg()
    add_tensormask_config(cfg)
    cfg.merge_from_file("tensormask_R_50_FPN_6x.yaml")
    model = build_model(cfg)

The published project's keys and defaults, so that its YAML files work unchanged; the published names of weights, so
that its checkpoints load.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from intgrads.detections.tensormask import TensorMask, TensorMaskHead, Windows, paste

try:
    with warnings.catch_warnings():
        # It uses parts of PyTorch that are going out of use.
        warnings.simplefilter("ignore")
        from detectron2.config import CfgNode, get_cfg
        from detectron2.layers import FrozenBatchNorm2d
        from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
        from detectron2.structures import Boxes, Instances
except ImportError as error:
    raise ImportError(
        f"TensorMask needs detectron2, which cannot be imported ({error}); install the official one, or the unofficial "
        "build from PyPI: pip install -c constraints.txt -e '.[tensormask]' && python scripts/install_detectron2.py"
    ) from None

PUBLISHED = Path(__file__).parent / "configs" / "tensormask_R_50_FPN_6x.yaml"
"""The configuration of the published R50-FPN models."""

LONGEST_SIDE = 10_000
"""Pixels to which a configuration may have pictures resized."""

NAME = "TensorMask"
OWN_NAME = "IntgradsTensorMask"
"""In detectron2's registry, always ours. Where the published project ``tensormask`` is installed, `NAME` stays its."""


def add_tensormask_config(cfg: CfgNode) -> None:
    """Add TensorMask's keys to detectron2's configuration, and take the CPU where there is no CUDA."""
    cfg.MODEL.TENSOR_MASK = CfgNode(
        {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6", "p7"],
            "NUM_CONVS": 4,
            "NUM_CLASSES": 80,
            "CLS_CHANNELS": 256,
            "SCORE_THRESH_TEST": 0.05,
            "TOPK_CANDIDATES_TEST": 6000,
            "NMS_THRESH_TEST": 0.5,
            "BBOX_CHANNELS": 128,
            "BBOX_REG_WEIGHTS": (1.5, 1.5, 0.75, 0.75),
            "FOCAL_LOSS_GAMMA": 3.0,
            "FOCAL_LOSS_ALPHA": 0.3,
            "MASK_CHANNELS": 128,
            "MASK_LOSS_WEIGHT": 2.0,
            "POSITIVE_WEIGHT": 1.5,
            "ALIGNED_ON": False,
            "BIPYRAMID_ON": False,
        }
    )
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"


def read_config(path: Path = PUBLISHED) -> dict[str, Any]:
    """Read a YAML file of detectron2's kind over the defaults; return all of it as plain JSON.

    Raises
    ------
    ValueError
        If the file is missing, no such configuration, or of another network.
    """
    cfg = get_cfg()
    add_tensormask_config(cfg)
    try:
        _check_files(path)
        # Of detectron2's own accord it would run a file that asks for it.
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except (
        OSError,
        AssertionError,
        KeyError,
        ValueError,
        AttributeError,
        TypeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        raise ValueError(f"{path} is not a configuration of detectron2 with TensorMask's keys: {error}") from None
    if cfg.MODEL.META_ARCHITECTURE not in (NAME, OWN_NAME):
        raise ValueError(f"{path} is of a {cfg.MODEL.META_ARCHITECTURE}, not of a {NAME}")
    longest = max(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    if longest > LONGEST_SIDE:
        raise ValueError(f"{path} resizes pictures to {longest} pixels; {LONGEST_SIDE} at most")
    content: dict[str, Any] = yaml.safe_load(cfg.dump())
    return content


def _check_files(path: Path) -> None:
    """Raise a ValueError where a file, or one that it is based on, asks for more than to be read.

    detectron2 fetches a base from wherever it is told to; and it copies what an alias stands for, so that a few lines
    of aliases of aliases become more than any memory holds.
    """
    seen: set[Path] = set()
    while path not in seen:
        seen.add(path)
        if not path.is_file():
            raise ValueError(f"{path} is no file here")
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has aliases (*name); write out what they stand for")
        base = content.get("_BASE_") if isinstance(content, dict) else None
        if base is None:
            return
        path = Path(path.parent, str(base)).resolve()
    raise ValueError(f"{path} is based on itself")


def build_tensormask(config: dict[str, Any]) -> IntgradsTensorMask:
    """Build the network of a configuration that :func:`read_config` returned, on the CPU, its weights random."""
    cfg = get_cfg()
    add_tensormask_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(config))
    return IntgradsTensorMask(cfg)


class IntgradsTensorMask(TensorMask):
    """TensorMask as detectron2 builds it. Inference alone: training is in ``training/shapes.py``.

    Parameters
    ----------
    cfg : CfgNode
        Raises ValueError where its keys do not fit together.
    """

    def __init__(self, cfg: CfgNode) -> None:
        keys = cfg.MODEL.TENSOR_MASK
        backbone = build_backbone(cfg)
        shapes = [backbone.output_shape()[name] for name in keys.IN_FEATURES]
        strides = tuple(shape.stride for shape in shapes)
        sides = tuple(tuple(level) for level in cfg.MODEL.ANCHOR_GENERATOR.SIZES)
        if len(sides) == 1:
            sides *= len(strides)
        if len(sides) != len(strides) or len({len(level) for level in sides}) != 1:
            raise ValueError("ANCHOR_GENERATOR.SIZES needs a list for each of IN_FEATURES, all of one length")
        if list(cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS) != [[1.0]]:
            raise ValueError("TensorMask's windows are squares: set ANCHOR_GENERATOR.ASPECT_RATIOS [[1.0]]")
        if cfg.MODEL.ANCHOR_GENERATOR.OFFSET != 0:
            raise ValueError("TensorMask's windows are centred at the locations: set ANCHOR_GENERATOR.OFFSET 0.0")
        if any(stride != strides[0] * 2**level for level, stride in enumerate(strides)):
            raise ValueError(f"each of IN_FEATURES must be half as fine as the one before; their strides are {strides}")
        head = TensorMaskHead(
            shapes[0].channels,
            keys.NUM_CLASSES,
            [int(side) // strides[0] for side in sides[0]],
            num_convs=keys.NUM_CONVS,
            cls_channels=keys.CLS_CHANNELS,
            bbox_channels=keys.BBOX_CHANNELS,
            mask_channels=keys.MASK_CHANNELS,
            aligned=keys.ALIGNED_ON,
            bipyramid=keys.BIPYRAMID_ON,
        )
        super().__init__(
            backbone,
            head,
            keys.IN_FEATURES,
            Windows(strides, sides),
            divisibility=backbone.size_divisibility,
            bgr=cfg.INPUT.FORMAT == "BGR",
            candidates=keys.TOPK_CANDIDATES_TEST,
            nms_threshold=keys.NMS_THRESH_TEST,
            most_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            box_weights=keys.BBOX_REG_WEIGHTS,
        )
        self.score_threshold: float = keys.SCORE_THRESH_TEST
        mean, std = (
            torch.tensor(list(values), dtype=torch.float32) for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        )
        self.register_buffer("pixel_mean", mean[:, None, None], persistent=False)
        self.register_buffer("pixel_std", std[:, None, None], persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.get_buffer("pixel_mean").device

    def load_state_dict(self, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        """Load weights; the windows that some checkpoints hold beside them are known already."""
        state_dict = {k: v for k, v in state_dict.items() if not k.startswith("anchor_generator.cell_anchors")}
        return super().load_state_dict(state_dict, *arguments, **options)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Find the objects of pictures, by detectron2's protocol.

        Parameters
        ----------
        batched_inputs : list of dict
            ``image``: Tensor (3, H, W) of 0 … 255 in the order of ``INPUT.FORMAT``, resized by the caller;
            ``height`` and ``width`` of what is to be returned, by default those of the image.

        Returns
        -------
        list of dict
            ``instances`` with ``pred_boxes``, ``scores``, ``pred_classes`` and ``pred_masks`` (N, height, width).

        Raises
        ------
        NotImplementedError
            In training mode.
        """
        if self.training:
            raise NotImplementedError(
                "this TensorMask infers: call .eval(); how one is trained is in training/shapes.py"
            )
        return [{"instances": self._find(one)} for one in batched_inputs]

    @torch.no_grad()
    def _find(self, one: dict[str, Any]) -> Instances:
        image: Tensor = one["image"].to(self.device)
        x = (image - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_std")
        features = self.features((x.flip(0) if self.bgr else x)[None])
        found = self.detect(features, self.score_threshold)
        height, width = image.shape[1:]
        size = one.get("height", height), one.get("width", width)
        kept = found.scaled((height, width), size)
        masks = self.masks(features, kept)
        return Instances(
            size,
            pred_boxes=Boxes(kept.boxes),
            scores=kept.scores,
            pred_classes=kept.classes,
            pred_masks=paste(masks, kept.windows, size),
        )


META_ARCH_REGISTRY.register(IntgradsTensorMask)
if find_spec("tensormask") is None and NAME not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(type(NAME, (IntgradsTensorMask,), {"__doc__": IntgradsTensorMask.__doc__}))


def fold_normalisation(network: nn.Module) -> None:
    """Fold detectron2's frozen batch normalisation into the convolutions before it, in place and exactly."""
    for layer in network.modules():
        norm = getattr(layer, "norm", None)
        if isinstance(layer, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            bias = norm.bias - norm.running_mean * scale + (0 if layer.bias is None else layer.bias * scale)
            layer.weight.data *= scale[:, None, None, None]
            layer.bias = nn.Parameter(bias, requires_grad=False)
            setattr(layer, "norm", None)  # noqa: B010
