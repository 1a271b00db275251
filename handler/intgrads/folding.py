"""What is constant in a network is computed once, when it is loaded.

Two foldings, each exact in exact arithmetic: the standardised weights of a convolution (Qiao et al., arXiv 1903.10520)
become plain ones, and a batch normalisation in evaluation mode, an affine map of channels, moves into the convolution
before it (Ioffe and Szegedy, ICML 2015, section 3.1). Both leave fewer operations to run forward and backward.
"""

from __future__ import annotations

import copy
import logging

import torch
from timm.layers import BatchNormAct2d, StdConv2d
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

logger = logging.getLogger(__name__)


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
        In evaluation mode, parameters frozen, of the same type; folded in float64. Where a network cannot be traced
        its batch normalisations stay, and that is logged.
    """
    dtype = next(module.parameters(), torch.empty(0)).dtype
    folded = copy.deepcopy(module).double()
    fold_standardisation(folded)
    try:
        graph = _LayersAsLeaves().trace(folded)
    except Exception as error:  # a network's forward may do anything while it is traced
        logger.info("batch normalisation was not folded: %s", error)
    else:
        folded = fx.GraphModule(folded, graph)
        fold_batch_norm(folded)
    return folded.to(dtype).eval().requires_grad_(False)


def fold_standardisation(module: nn.Module) -> None:
    """Replace, in place, each weight-standardised convolution by a plain one."""
    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is StdConv2d:
                setattr(parent, name, _plain(layer))


def _plain(layer: StdConv2d) -> nn.Conv2d:
    weight = layer.weight.detach()
    standardised = functional.batch_norm(
        weight.reshape(1, layer.out_channels, -1), None, None, training=True, momentum=0.0, eps=layer.eps
    ).reshape_as(weight)
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias=layer.bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    plain.weight = nn.Parameter(standardised)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach())
    return plain


def fold_batch_norm(traced: fx.GraphModule) -> None:
    """Move, in place, each batch normalisation that alone follows a convolution into it."""
    layers = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm = layers.get(node.target) if node.op == "call_module" else None
        before = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if not isinstance(norm, nn.BatchNorm2d | BatchNormAct2d) or before is None or before.op != "call_module":
            continue
        convolution = layers.get(before.target)
        shared = len(before.users) > 1 or sum(n.target == before.target for n in traced.graph.nodes) > 1
        if not isinstance(convolution, nn.Conv2d) or shared:
            continue
        if norm.running_mean is None or norm.running_var is None:
            continue
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        # timm's normalisation carries the activation that follows it.
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        traced.set_submodule(str(node.target), rest)
    traced.recompile()
