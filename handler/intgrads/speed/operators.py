"""Each layer of a network computed in the fastest of the ways that there are for it on this machine.

Layers are linear maps, so that a way that is not the same map is found however small the network's own rounding makes
it look: its structure in float64, and what computes in float32 alone (oneDNN) by the plain layer in float32.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from intgrads.speed.choices import Choices
from intgrads.speed.convolutions import Convolution, described, frozen, pads_with_zeros
from intgrads.speed.layers import layers
from intgrads.speed.products import Product
from intgrads.speed.same_padding import with_constant_padding
from intgrads.speed.small_maps import FEW_PIXELS, MapProduct, PixelProduct, map_product, pixel_product
from intgrads.speed.space_to_depth import SpaceToDepthConvolution, fits

logger = logging.getLogger(__name__)

FLOPS, NUMBERS = 1e8, 1e6
"""Most of a convolution that is timed, and of its inputs and outputs, where its rows can be so few: milliseconds."""

LEAST_ROWS, MOST_ROWS = 2, 32
"""Rows of a convolution that is timed; on maps of few pixels never less than half of the most, as fetching the weights
would be all of the work."""

FEW_ROWS = 8
"""Most rows at which PyTorch's own convolution is timed beside oneDNN's: of few it takes another way itself."""

SAME, SAME_ROUNDED = 1e-10, 1e-4
"""Largest difference of a layer's output and gradient in float64 and in float32, as a part of their norms."""

Make = Callable[[nn.Conv2d], nn.Module | None]


def choose_products(module: nn.Module, choices: Choices) -> None:
    """Make every plain ``nn.Linear`` of a module, in place, a :class:`Product` where that is faster."""
    for parent, name, layer in layers(module):
        if type(layer) is nn.Linear:
            product = Product(layer.weight, layer.bias)
            product.choose(choices)
            if not product.is_plain and _same(product, layer, torch.randn(2, layer.in_features), SAME_ROUNDED):
                setattr(parent, name, product)


def choose_convolutions(module: nn.Module, shape: tuple[int, ...], choices: Choices) -> None:
    """Make every plain ``nn.Conv2d`` of a module, in place, what is fastest for inputs of one shape.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, frozen, in float32 on the CPU.
    shape : tuple of int
        Shape of one input, without the batch.
    choices : Choices
    """
    seen: dict[nn.Module, set[tuple[torch.Size, torch.Size]]] = {}

    def see(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        if arguments:
            seen.setdefault(layer, set()).add((arguments[0].shape[1:], output.shape[1:]))

    kinds = (nn.Conv2d, Conv2dSame)
    hooks = [layer.register_forward_hook(see) for layer in module.modules() if type(layer) in kinds]
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    # Named, not by their parents: a traced network finds a layer's successor by its name.
    for name, layer in list(module.named_modules()):
        # What sees several sizes is fastest for none of them.
        if type(layer) in kinds and pads_with_zeros(layer) and len(seen.get(layer, ())) == 1:
            module.set_submodule(name, _fastest(layer, *seen[layer].copy().pop(), choices))


def _fastest(layer: nn.Conv2d, before: torch.Size, after: torch.Size, choices: Choices) -> nn.Module:
    flops = 2 * layer.weight[0].numel() * after.numel()
    most = min(FLOPS / flops, NUMBERS / (before.numel() + after.numel()), MOST_ROWS)
    least = MOST_ROWS // 2 if before[1:].numel() <= FEW_PIXELS else LEAST_ROWS
    x = torch.randn(max(int(most), least), *before).contiguous(memory_format=torch.channels_last)

    def padded(one: nn.Conv2d) -> nn.Conv2d | None:
        return with_constant_padding(one, (before[1], before[2])) if isinstance(one, Conv2dSame) else one

    def made(make: Make) -> Make:
        def of_padded(one: nn.Conv2d) -> nn.Module | None:
            plain = padded(one)
            return None if plain is None else make(plain)

        return of_padded

    makes: dict[str, Make] = {
        "plain": copy.copy,
        "convolution": made(frozen),
        "product of pixels": made(lambda one: pixel_product(one, before)),
        "product of maps": made(lambda one: map_product(one, before, after)),
        "blocks": made(lambda one: SpaceToDepthConvolution(one) if fits(one) else None),
    }
    if type(layer) is nn.Conv2d:
        del makes["plain"]  # it keeps its input, and is no faster
    ways = {}
    for name, make in makes.items():
        way = make(layer)
        if way is None:
            continue
        _choose_within(way, x, after, choices)
        if _same_map(way, make, layer, x[:1]):
            ways[name] = way
        elif not ways:
            ways[name] = make(layer) or layer  # as PyTorch has it
    runs = {name: one_run(way, x) for name, way in ways.items()}
    return ways[choices.fastest(described(layer, x), runs)]


def _choose_within(way: nn.Module, x: Tensor, after: torch.Size, choices: Choices) -> None:
    if isinstance(way, Convolution):
        way.choose(choices, x[:FEW_ROWS])
    elif isinstance(way, SpaceToDepthConvolution):
        way.convolution.choose(choices, way.blocks(x[:FEW_ROWS]))
    elif isinstance(way, PixelProduct):
        way.product.choose(choices, len(x) * after[1:].numel())
    elif isinstance(way, MapProduct):
        way.product.choose(choices, len(x))


def one_run(way: nn.Module, x: Tensor) -> Callable[[], object]:
    """Return what runs a layer or a network once, forward and backward."""
    points = x.clone().requires_grad_()

    def run() -> object:
        output = way(points)
        return torch.autograd.grad(output, points, output.detach())

    return run


def _same_map(way: nn.Module, make: Make, layer: nn.Conv2d, row: Tensor) -> bool:
    """Whether a way is the layer: in float64 what it is made of, in float32 itself."""
    if type(way) is type(layer) or (isinstance(way, Convolution) and way.is_plain and type(layer) is nn.Conv2d):
        return True
    precise = copy.deepcopy(layer).double()
    again = make(precise)
    assert again is not None
    if isinstance(again, Convolution) and isinstance(way, Convolution) and way.turned is not None:
        again.turned = way.turned.double()
    return _same(again, precise, row.double(), SAME) and _same(way, layer, row, SAME_ROUNDED)


def _same(way: nn.Module, layer: nn.Module, rows: Tensor, most: float) -> bool:
    found, expected = _behaviour(way, rows), _behaviour(layer, rows)
    for one, other in zip(found, expected, strict=True):
        difference = (one - other).norm() / other.norm().clamp_min(1e-30)
        if not difference <= most:
            logger.warning("%s as %s differs by %.1g of its norm, and stays", layer, type(way).__name__, difference)
            return False
    return True


def _behaviour(layer: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    points = rows.clone().requires_grad_()
    output = layer(points)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    return output.detach(), torch.autograd.grad(output, points, weights)[0]
