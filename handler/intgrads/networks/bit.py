"""BiT: Kolesnikov et al., "Big Transfer (BiT): General Visual Representation Learning" (ECCV 2020, arXiv 1912.11370).

Pre-activation ResNets (He et al., arXiv 1603.05027) with group normalisation and standardised weights. The network's
code is timm's; what differs from timm's default is the epsilon of the standardisation, 1e-10 in the authors' code.
Checkpoints are read under the names of the authors' PyTorch code, under timm's, and as the authors' ``.npz`` files,
whose kernels stand as (height, width, in, out). ``bit`` is BiT-S-R101x3 fine-tuned on CIFAR-10 at 32 × 32.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from timm.layers import StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from intgrads.networks.checkpoints import fit
from intgrads.networks.cifar10 import architecture_of, classes_of, labels_of, picture_of, weights_of
from intgrads.networks.family import Ingredients, Order

_CHANNELS = {"stem_channels": 64, "channels": [256, 512, 1024, 2048]}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bit": {"units": [3, 4, 23, 3], "width": 3, **_CHANNELS},
    "bit-r50x1": {"units": [3, 4, 6, 3], "width": 1, **_CHANNELS},
    "bit-r50x3": {"units": [3, 4, 6, 3], "width": 3, **_CHANNELS},
    "bit-r101x1": {"units": [3, 4, 23, 3], "width": 1, **_CHANNELS},
    "bit-r101x3": {"units": [3, 4, 23, 3], "width": 3, **_CHANNELS},
    "bit-r152x2": {"units": [3, 8, 36, 3], "width": 2, **_CHANNELS},
    "bit-r152x4": {"units": [3, 8, 36, 3], "width": 4, **_CHANNELS},
}
"""MODEL of the command line: bottleneck units and output channels of each block, times the width."""

_PTH_NAMES = (
    (r"^stem\.", "root."),
    (r"^stages\.(\d+)\.blocks\.(\d+)\.", lambda m: f"body.block{int(m[1]) + 1}.unit{int(m[2]) + 1:02}."),
    (r"\.norm(\d)\.", r".gn\1."),
    (r"\.downsample\.conv\.", ".downsample."),
    (r"^norm\.", "head.gn."),
    (r"^head\.fc\.", "head.conv."),
)
"""From timm's names to the authors', substitutions applied in this order."""

_NPZ_NAMES = (
    (r"^root\.conv\.weight", "root_block/standardized_conv2d/kernel"),
    (r"^body\.(block\d)\.(unit\d+)\.", r"\1/\2/"),
    (r"downsample\.weight", "a/proj/standardized_conv2d/kernel"),
    (r"/conv([123])\.weight", lambda m: f"/{'abc'[int(m[1]) - 1]}/standardized_conv2d/kernel"),
    (r"/gn([123])\.", lambda m: f"/{'abc'[int(m[1]) - 1]}/group_norm/"),
    (r"^head\.gn\.", "group_norm/"),
    (r"group_norm/weight", "group_norm/gamma"),
    (r"group_norm/bias", "group_norm/beta"),
    (r"^head\.conv\.weight", "head/conv2d/kernel"),
    (r"^head\.conv\.bias", "head/conv2d/bias"),
    (r"^", "resnet/"),
)
"""From the names of the authors' PyTorch code to those of their ``.npz`` files."""


class BiT:
    """``bit --weights FILE``, or another member of the family."""

    def read(self, order: Order) -> Ingredients:
        """Read the user's checkpoint; see :meth:`Family.read`."""
        architecture = architecture_of(order, ARCHITECTURES)
        path, weights = weights_of(order)
        npz = any(name.startswith("resnet/") for name in weights)
        named = npz_name if npz else _timms_name if "stem.conv.weight" in weights else pth_name
        classes = classes_of(weights, named("head.fc.bias"))
        architecture |= {"num_classes": classes}
        with torch.device("meta"):
            expected = self.build(architecture).state_dict()
        theirs = {name: named(name) for name in expected}
        layout = _to_hwio if npz else _unchanged
        fitted = fit(weights, {theirs[name]: layout(tensor) for name, tensor in expected.items()}, path)
        layout = _to_oihw if npz else _unchanged
        return Ingredients(
            architecture=architecture,
            weights={name: layout(fitted[theirs[name]]).contiguous() for name in expected},
            spec=picture_of(order, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            labels=labels_of(order, classes),
        )

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`Family.build`."""
        module: nn.Module = ResNetV2(
            layers=architecture["units"],
            channels=architecture["channels"],
            stem_chs=architecture["stem_channels"],
            width_factor=architecture["width"],
            num_classes=architecture["num_classes"],
            # Zeros around the root's output, then a pool without padding: not the usual pad of minus infinity.
            stem_type="fixed",
            conv_layer=partial(StdConv2d, eps=1e-10),
        )
        return module


def _timms_name(name: str) -> str:
    return name


def pth_name(name: str) -> str:
    """Return the name that a parameter of timm's has in the authors' PyTorch code."""
    for pattern, replacement in _PTH_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def npz_name(name: str) -> str:
    """Return the name that a parameter of timm's has in the authors' ``.npz`` files."""
    name = pth_name(name)
    for pattern, replacement in _NPZ_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _to_hwio(kernel: Tensor) -> Tensor:
    return kernel.permute(2, 3, 1, 0) if kernel.ndim == 4 else kernel


def _to_oihw(kernel: Tensor) -> Tensor:
    return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel
