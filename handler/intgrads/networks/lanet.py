"""LaNet: Wang et al., "Sample-Efficient Neural Architecture Search by Learning Action Space" (arXiv 2007.00708).

The network that the search found for CIFAR-10, in the frame of DARTS (Liu et al., ICLR 2019, arXiv 1806.09055): a
stem, 24 cells of one genotype, of which the ninth and the seventeenth halve the sides and double the channels, a mean
over the picture and a linear classifier. Names of modules are those of the authors' checkpoints. The auxiliary head of
a checkpoint helped in training only; it is left out of the archive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from intgrads.networks.checkpoints import fit
from intgrads.networks.cifar10 import architecture_of, classes_of, labels_of, picture_of, weights_of
from intgrads.networks.family import Ingredients, Order

GENOTYPE = (
    (("skip", 0), ("skip", 1)),
    (("sep3", 1), ("skip", 1)),
    (("maxpool3", 2), ("skip", 1)),
    (("sep3", 1), ("skip", 0)),
    (("skip", 3), ("sep5", 4)),
    (("skip", 3), ("maxpool3", 0)),
    (("skip", 3), ("sep3", 1)),
)
"""A cell: each pair makes a new state, the sum of two operations on earlier ones; 0 and 1 are the cell's inputs."""

CONCATENATED = (5, 6, 7, 8)
"""States that make up a cell's output."""

ARCHITECTURES: dict[str, dict[str, Any]] = {"lanet": {"cells": 24, "channels": 128, "stem_multiplier": 3}}
"""MODEL of the command line: how many cells, their channels before the first reduction, and the stem's over those."""


class StandardisedConv2d(nn.Conv2d):
    """A 1 × 1 convolution with the weights of each output channel standardised (Qiao et al., arXiv 1903.10520).

    By the standard deviation of a sample, plus 1e-5; timm's StdConv2d has the root of the variance plus epsilon.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return functional.conv2d(x, self.applied_weight(self.weight))

    @staticmethod
    def applied_weight(weight: Tensor) -> Tensor:
        """Return the weights that are applied, (outputs, inputs, 1, 1), given those that were learned."""
        deviation, mean = torch.std_mean(weight, dim=(1, 2, 3), keepdim=True)
        return (weight - mean) / (deviation + 1e-5)


class Preprocessing(nn.Module):
    """Brings a cell's input to its number of channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.op = nn.Sequential(nn.ReLU(), StandardisedConv2d(inputs, outputs), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Prepare (B, inputs, H, W)."""
        out: Tensor = self.op(x)
        return out


class FactorisedReduction(nn.Module):
    """Halves the sides: one half of the channels sees the even pixels, the other the odd ones."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce (B, inputs, H, W), H and W even."""
        x = self.relu(x)
        out: Tensor = self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))
        return out


class SeparableConvolution(nn.Module):
    """Twice: ReLU, a depthwise convolution, a pointwise one, batch normalisation; the stride is in the first."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in (stride, 1):
            layers += [
                nn.ReLU(),
                nn.Conv2d(channels, channels, kernel, step, kernel // 2, groups=channels, bias=False),
                StandardisedConv2d(channels, channels),
                nn.BatchNorm2d(channels),
            ]
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, channels, H, W)."""
        out: Tensor = self.op(x)
        return out


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """Return an operation of the genotype."""
    if name == "skip":
        return nn.Identity() if stride == 1 else FactorisedReduction(channels, channels)
    if name == "maxpool3":
        return nn.MaxPool2d(3, stride, padding=1)
    return SeparableConvolution(channels, {"sep3": 3, "sep5": 5}[name], stride)


class Cell(nn.Module):
    """One cell of :data:`GENOTYPE`.

    Parameters
    ----------
    before_last, last : int
        Channels of its two inputs, the outputs of the two cells before it.
    channels : int
        Of each of its states; it returns four times as many.
    reduction : bool
        Whether it halves the sides.
    after_reduction : bool
        Whether the cell before it did, so that its first input still has twice the size of its second.
    """

    def __init__(self, before_last: int, last: int, channels: int, reduction: bool, after_reduction: bool) -> None:
        super().__init__()
        first = FactorisedReduction if after_reduction else Preprocessing
        self.preprocess0 = first(before_last, channels)
        self.preprocess1 = Preprocessing(last, channels)
        self._ops = nn.ModuleList(
            operation(name, channels, stride=2 if reduction and source < 2 else 1)
            for pair in GENOTYPE
            for name, source in pair
        )

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """Return (B, 4 channels, H, W)."""
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        operations = iter(self._ops)
        for (_, one), (_, other) in GENOTYPE:
            states.append(next(operations)(states[one]) + next(operations)(states[other]))
        return torch.cat([states[i] for i in CONCATENATED], dim=1)


class LaNetwork(nn.Module):
    """(B, 3, H, W) to logits (B, num_classes)."""

    def __init__(self, cells: int, channels: int, stem_multiplier: int, num_classes: int) -> None:
        super().__init__()
        last = before_last = stem_multiplier * channels
        self.stem = nn.Sequential(nn.Conv2d(3, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        reductions = (cells // 3, 2 * cells // 3)
        for i in range(cells):
            channels *= 2 if i in reductions else 1
            self.cells.append(Cell(before_last, last, channels, i in reductions, i - 1 in reductions))
            before_last, last = last, len(CONCATENATED) * channels
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify."""
        before_last = last = self.stem(x)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        logits: Tensor = self.classifier(last.mean((2, 3)))
        return logits


class LaNet:
    """``lanet --weights FILE``."""

    def read(self, order: Order) -> Ingredients:
        """Read the user's checkpoint; see :meth:`Family.read`."""
        architecture = architecture_of(order, ARCHITECTURES)
        path, weights = weights_of(order)
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("auxiliary_head.")}
        classes = classes_of(weights, "classifier.bias")
        architecture |= {"num_classes": classes}
        with torch.device("meta"):
            expected = self.build(architecture).state_dict()
        return Ingredients(
            architecture=architecture,
            weights=fit(weights, expected, path),
            spec=picture_of(order, mean=(0.49139968, 0.48215827, 0.44653124), std=(0.24703233, 0.24348505, 0.26158768)),
            labels=labels_of(order, classes),
        )

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`Family.build`."""
        return LaNetwork(**architecture)
