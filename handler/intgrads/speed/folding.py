"""What is constant in a network is computed once, when it is loaded.

Foldings that are exact in exact arithmetic: the standardised weights of a convolution (Qiao et al., arXiv 1903.10520)
become plain ones, and a batch normalisation in evaluation mode, an affine map of channels, moves into the convolution
before it (Ioffe and Szegedy, ICML 2015, section 3.1) or, where there is none, becomes that map. They leave fewer
operations to run forward and backward.
"""

from __future__ import annotations

import copy
import logging
from typing import Any, Protocol, runtime_checkable

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, StdConv2d
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from intgrads.speed.convolutions import remade
from intgrads.speed.layers import layers

logger = logging.getLogger(__name__)


@runtime_checkable
class Standardised(Protocol):
    """A convolution of ours whose weights are not those that it applies."""

    weight: Tensor

    def applied_weight(self, weight: Tensor) -> Tensor:
        """Return what is applied where its weight has these values, of the same shape."""
        ...


class _LayersAsLeaves(fx.Tracer):
    """Traces a network down to the layers of PyTorch and timm, and not into them."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        library = type(module).__module__.startswith("timm.layers")
        return library or bool(super().is_leaf_module(module, qualified_name))


def fold(module: nn.Module) -> nn.Module:
    """Return a network of the same function with its constants folded.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode. Left as it is.

    Returns
    -------
    nn.Module
        In evaluation mode, parameters frozen, of the same type; each layer is folded in float64. Where a network
        cannot be traced its batch normalisations stay, and that is logged.
    """
    folded = copy.deepcopy(module)
    fold_standardisation(folded)
    try:
        graph = _LayersAsLeaves().trace(folded)
    except Exception as error:  # a network's forward may do anything while it is traced
        logger.info("batch normalisation was not moved into convolutions: %s", error)
    else:
        folded = fx.GraphModule(folded, graph)
        fold_batch_norm(folded)
    replace_batch_norm(folded)
    return folded.eval().requires_grad_(False)


def fold_standardisation(module: nn.Module) -> None:
    """Replace, in place, each weight-standardised convolution by a plain one."""
    for parent, name, layer in layers(module):
        if isinstance(layer, Standardised):
            weight = layer.applied_weight(layer.weight.detach().double())
        elif type(layer) is StdConv2d:
            weight = layer.weight.detach().double().flatten(1)[None]
            weight = functional.batch_norm(weight, None, None, training=True, momentum=0.0, eps=layer.eps)
        else:
            continue
        weight = weight.reshape_as(layer.weight).to(layer.weight.dtype)
        setattr(parent, name, remade(layer, weight, nn.Conv2d))


def fold_batch_norm(traced: fx.GraphModule) -> None:
    """Move, in place, each batch normalisation that alone follows convolutions into them.

    Before it stands one convolution, or several that are concatenated, each of which takes its part of the channels.
    """
    layers = dict(traced.named_modules(remove_duplicate=False))
    for node in list(traced.graph.nodes):
        norm = layers.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d | BatchNormAct2d) or norm.running_mean is None:
            continue
        # What is used in several places cannot become something else for one of them.
        convolutions = _convolutions_before(node, layers) if _uses(norm, node.graph, layers) == 1 else []
        first = 0
        for convolution in convolutions:
            part = slice(first, first := first + convolution.out_channels)
            old = [convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias]
            precise = [None if tensor is None else tensor.detach().double() for tensor in old]
            weight, bias, mean, var, scale, shift = precise[:2] + [None if t is None else t[part] for t in precise[2:]]
            folded = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, scale, shift)  # type: ignore[arg-type]
            convolution.weight, convolution.bias = (nn.Parameter(p.to(convolution.weight.dtype)) for p in folded)
        if convolutions:
            traced.set_submodule(str(node.target), _followed_by(nn.Identity(), norm))
    traced.recompile()


def _convolutions_before(node: fx.Node, layers: dict[str, Any]) -> list[nn.Conv2d]:
    """Return the convolutions whose output a node takes, in the order of its channels; none if others see it too."""
    before: Any = node.args[0] if node.args else None
    parts: list[Any] = [before]
    if isinstance(before, fx.Node) and before.target is torch.cat and before.kwargs == {"dim": 1}:
        parts = list(before.args[0]) if len(before.users) == 1 else []  # type: ignore[arg-type]
    convolutions = []
    for part in parts:
        layer = layers.get(str(part.target)) if isinstance(part, fx.Node) and part.op == "call_module" else None
        # Others may make something else of their weights.
        if layer is None or type(layer) not in (nn.Conv2d, Conv2dSame) or len(part.users) > 1 or layer in convolutions:
            return []
        if _uses(layer, node.graph, layers) > 1:
            return []
        convolutions.append(layer)
    return convolutions


def _uses(layer: Any, graph: fx.Graph, layers: dict[str, Any]) -> int:
    """Count the places where a layer is called, under whatever name."""
    return sum(node.op == "call_module" and layers[str(node.target)] is layer for node in graph.nodes)


class ChannelAffine(nn.Module):
    """A scale and a shift of each channel: what a batch normalisation is in evaluation mode.

    PyTorch's own keeps its input, and of a single row (2.14, on a CPU) has a wrong gradient where the gradient that
    comes in lies in memory otherwise than the input.

    Parameters
    ----------
    norm : nn.BatchNorm2d
        With running statistics.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a batch normalisation without running statistics is no affine map")
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach().double()
        shift = -norm.running_mean.double() * scale
        if norm.bias is not None:
            shift = shift + norm.bias.detach().double()
        dtype = norm.running_mean.dtype
        self.weight, self.bias = (nn.Parameter(t.to(dtype).view(-1, 1, 1), requires_grad=False) for t in (scale, shift))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return torch.addcmul(self.bias, x, self.weight)


def replace_batch_norm(module: nn.Module) -> None:
    """Make every batch normalisation with running statistics, in place, the affine map that it is."""
    for parent, name, layer in layers(module):
        if type(layer) in (nn.BatchNorm2d, BatchNormAct2d) and layer.running_mean is not None:
            setattr(parent, name, _followed_by(ChannelAffine(layer), layer))


def _followed_by(affine: nn.Module, norm: nn.Module) -> nn.Module:
    """Return what takes a normalisation's place, with the activation that timm's normalisation carries."""
    return nn.Sequential(affine, norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else affine
