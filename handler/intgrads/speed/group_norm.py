"""Group normalisation and ReLU as one layer that keeps only its input.

Group normalisation (Wu and He, arXiv 1803.08494) keeps its input for the backward pass and a ReLU its output, which is
as large. The output's sign is cheap to compute again: within a group the layer is an affine map of each channel. With
products and convolutions that keep nothing, the memory of a pre-activation ResNet halves.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import GroupNormAct
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from intgrads.speed.layers import layers


class _GroupNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: GroupNormReLU) -> Tensor:
        normal, mean, rstd = torch.native_group_norm(
            x, layer.weight, layer.bias, len(x), x.shape[1], x.shape[2:].numel(), layer.num_groups, layer.eps
        )
        ctx.layer = layer
        ctx.save_for_backward(x, mean, rstd)
        return normal.relu_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, mean, rstd = ctx.saved_tensors
        weight, bias, groups = ctx.layer.weight, ctx.layer.bias, ctx.layer.num_groups
        rows, channels, pixels = len(x), x.shape[1], x.shape[2:].numel()
        scale = rstd[:, :, None] * weight.view(groups, -1)
        shift = torch.addcmul(bias.view(groups, -1), mean[:, :, None], scale, value=-1)
        scale, shift = (t.view(rows, channels, *(1,) * (x.dim() - 2)) for t in (scale, shift))
        through = torch.ops.aten.threshold_backward(gradient, torch.addcmul(shift, x, scale), 0)
        of_input, _, _ = torch.ops.aten.native_group_norm_backward(
            through, x, mean, rstd, weight, rows, channels, pixels, groups, [True, False, False]
        )
        return of_input, None


class GroupNormReLU(nn.GroupNorm):
    """``nn.GroupNorm`` and a ReLU after it, frozen.

    Parameters
    ----------
    norm : nn.GroupNorm
        With weights and biases.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight = nn.Parameter(norm.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(norm.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, …) to the same shape; on a CPU."""
        result: Tensor = _GroupNormReLU.apply(x, self)
        return result


def replace_group_norm(module: nn.Module) -> None:
    """Make every group normalisation of timm's that carries a ReLU, in place, a :class:`GroupNormReLU`."""
    for parent, name, layer in layers(module):
        if (
            type(layer) is GroupNormAct
            and layer.affine
            and type(layer.drop) is nn.Identity
            and type(layer.act) is nn.ReLU
        ):
            setattr(parent, name, GroupNormReLU(layer))
