"""The networks that are measured, with random weights: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from intgrads.networks.lanet import ARCHITECTURES, LaNetwork
from intgrads.texts.embeddings import FromEmbeddings, find_embedding_layer
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network, the size of its input, and the steps of the integral.

    Attributes
    ----------
    name : str
        As the table has it.
    size : int
        Side of a picture, or tokens of a text.
    steps : int
    build : callable
        Makes the network, in evaluation mode.
    text : bool
        Whether it takes tokens.
    """

    name: str
    size: int
    steps: int
    build: Callable[[], nn.Module]
    text: bool = False

    def network(self) -> nn.Module:
        """Return the network, the same at each call."""
        torch.manual_seed(0)
        return self.build().eval()

    def input(self) -> Tensor:
        """Return a picture, (1, 3, H, W), or a text's tokens, (L,)."""
        torch.manual_seed(0)
        if self.text:
            return torch.randint(1000, 20_000, (self.size,))
        return torch.rand(1, 3, self.size, self.size)


def _timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=CLASSES)


def _transformers(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(**options)
        network: nn.Module = getattr(transformers, f"{name}ForSequenceClassification")(config)
        return network

    return build


def _lanet() -> nn.Module:
    """Return LaNet with the statistics of random pictures; without them its logits grow beyond float32."""
    network = LaNetwork(**ARCHITECTURES["lanet"], num_classes=CLASSES)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 32, 32))
    return network


CASES = (
    Case("EfficientNet-Lite0", 224, 50, _timm("tf_efficientnet_lite0")),
    Case("BiT R50x1", 32, 50, _timm("resnetv2_50x1_bit")),
    Case("BiT R101x3", 32, 50, _timm("resnetv2_101x3_bit")),
    Case("MobileNetV3-large", 224, 20, _timm("mobilenetv3_large_100")),
    Case("ResNet-50", 224, 20, _timm("resnet50")),
    Case("LaNet", 32, 8, _lanet),
    Case("ConvNeXt-tiny", 224, 8, _timm("convnext_tiny")),
    Case("ViT-small/16", 224, 10, _timm("vit_small_patch16_224")),
    Case("DistilBERT", 128, 20, _transformers("DistilBert"), text=True),
    Case("BERT base", 64, 20, _transformers("Bert"), text=True),
    Case("XLNet base", 64, 20, _transformers("XLNet", n_layer=12, d_model=768, n_head=12, d_inner=3072), text=True),
)

TINY = (
    Case("ResNet-10t", 32, 4, _timm("resnet10t")),
    Case(
        "BERT tiny", 8, 4, _transformers("Bert", num_hidden_layers=1, hidden_size=32, num_attention_heads=2), text=True
    ),
)
"""To see that a benchmark runs."""


def named(name: str) -> Case:
    """Return the case of a name."""
    return next(case for case in (*CASES, *TINY) if case.name == name)


def from_embeddings(network: nn.Module, tokens: Tensor) -> FromEmbeddings:
    """Return a network of text as it takes one text's embeddings."""
    inputs = {"input_ids": tokens}
    return FromEmbeddings(network, find_embedding_layer(network, inputs), inputs)
