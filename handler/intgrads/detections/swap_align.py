r"""SwapAlign2Nat: masks predicted at each pixel of a feature map, in that pixel's own frame and at its own resolution.

TensorMask (Chen, Girshick, He, Dollár, ICCV 2019, arXiv 1903.12174, sections 3.3 and 4.2) predicts at each location
(y, x) of a map a window of V × U values. In the *aligned* representation the channel (v, u) of location (y, x) holds a
value *at* (y, x), whatever window it belongs to; in the *natural* one it belongs to the window *of* (y, x).
SwapAlign2Nat turns the first into the second and, for the bipyramid, trades resolution of the map for resolution of the
window by a factor λ: (N, V·U, H, W) becomes (N, λV·λU, ⌈H/λ⌉, ⌈W/λ⌉). With

.. math:: o_y = λy + v - λV/2 + 1/2, \quad o_v = (v + 1/2)/λ - 1/2

and likewise for x and u, the output (v, u, y, x) is the input at (o_v, o_u, o_y, o_x), interpolated linearly along each
of the four axes; a corner that is outside along any axis reads a pad value.

Less the pad, the corners outside are zeros and the interpolation is a product of two linear maps, one along (v, y) and
one along (u, x), each with at most four entries a row. Both are differentiable on any device; the pad receives no
gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PAD = -6.0
"""What is outside reads this logit: hardly any mask. TensorMask's own value."""


def _interpolation(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return indices and weights (…, 2) of the two neighbours of each position on an axis; a weight outside is 0."""
    below = positions.floor()
    neighbours = torch.stack([below, below + 1], -1)
    weights = 1 - (positions[..., None] - neighbours).abs()
    inside = (neighbours >= 0) & (neighbours < size)
    return neighbours.clamp(0, size - 1).long(), weights * inside


def _along(window: int, side: int, scale: int, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return where on the joint axis (window, side) each output is read.

    Parameters
    ----------
    window, side : int
        V and H, or U and W.
    scale : int
        λ.
    places : Tensor, (K,), long
        y, or x, of the outputs.

    Returns
    -------
    (Tensor, Tensor), each (K, λ·window, 4)
        Indices into window·side, and weights in float64.
    """
    offsets = torch.arange(scale * window, device=places.device, dtype=torch.float64)
    natural = places[:, None] * scale + offsets - scale * window / 2 + 0.5
    at_side, side_weights = _interpolation(natural, side)
    at_window, window_weights = _interpolation((offsets + 0.5) / scale - 0.5, window)
    indices = at_window[None, :, :, None] * side + at_side[:, :, None, :]
    weights = window_weights[None, :, :, None] * side_weights[:, :, None, :]
    return indices.flatten(2), weights.flatten(2)


def _matrix(indices: Tensor, weights: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """Return the sparse matrix (K·λ·window, columns) whose rows these are, without its zeros."""
    indices, weights = indices.flatten(0, 1), weights.flatten(0, 1)
    rows = torch.arange(len(indices), device=indices.device)[:, None].expand_as(indices)
    kept = weights != 0
    matrix = torch.sparse_coo_tensor(
        torch.stack([rows[kept], indices[kept]]),
        weights[kept].to(dtype),
        (len(weights), columns),
        check_invariants=False,
    )
    return matrix.coalesce()


def swap_align2nat(x: Tensor, scale: int, pad: float = PAD) -> Tensor:
    """Return the natural representation at every location.

    Parameters
    ----------
    x : Tensor, (N, V², H, W)
        Logits in the aligned representation.
    scale : int
        λ.
    pad : float, default -6

    Returns
    -------
    Tensor, (N, (λV)², ⌈H/λ⌉, ⌈W/λ⌉)

    Raises
    ------
    ValueError
        If the number of channels is not a square.
    """
    window, (height, width) = _window(x), x.shape[2:]
    rows = torch.arange(-(-height // scale), device=x.device)
    columns = torch.arange(-(-width // scale), device=x.device)
    vertical = _matrix(*_along(window, height, scale, rows), window * height, x.dtype)
    horizontal = _matrix(*_along(window, width, scale, columns), window * width, x.dtype)
    maps = (x - pad).view(-1, window, window, height, width).transpose(2, 3)  # (N, V, H, U, W)
    natural = []
    for one in maps:
        half = torch.sparse.mm(vertical, one.reshape(window * height, window * width))
        natural.append(torch.sparse.mm(horizontal, half.t()).t())
    result = torch.stack(natural).view(len(x), len(rows), scale * window, len(columns), scale * window)
    return result.permute(0, 2, 4, 1, 3).flatten(1, 2) + pad


def swap_align2nat_at(x: Tensor, scale: int, rows: Tensor, columns: Tensor, pad: float = PAD) -> Tensor:
    """Return the natural representation at some locations of one map: what :func:`swap_align2nat` gives there.

    Parameters
    ----------
    x : Tensor, (V², H, W)
    scale : int
        λ.
    rows, columns : Tensor, (K,), long
        y in 0 … ⌈H/λ⌉ - 1 and x in 0 … ⌈W/λ⌉ - 1 of the locations.
    pad : float, default -6

    Returns
    -------
    Tensor, (K, λV, λV)
    """
    window, (height, width) = _window(x[None]), x.shape[1:]
    vertical, down = _along(window, height, scale, rows)
    horizontal, across = _along(window, width, scale, columns)
    down, across = down.to(x.dtype), across.to(x.dtype)
    plane = (x - pad).view(window, window, height, width).transpose(1, 2).reshape(window * height, window * width)
    windows = []
    # One location after the other: sixteen corners of (λV)² values are enough to hold at a time.
    for k in range(len(rows)):
        corners = plane[vertical[k][:, None, :, None], horizontal[k][None, :, None, :]]
        windows.append(torch.einsum("vuij,vi,uj->vu", corners, down[k], across[k]))
    if not windows:
        return x.new_zeros(0, scale * window, scale * window)
    return torch.stack(windows) + pad


def _window(x: Tensor) -> int:
    window = math.isqrt(x.shape[1])
    if window**2 != x.shape[1]:
        raise ValueError(f"a window of V × V values has a square number of channels, not {x.shape[1]}")
    return window


class SwapAlign2Nat(nn.Module):
    """:func:`swap_align2nat` as a layer without parameters."""

    def __init__(self, scale: int, pad: float = PAD) -> None:
        super().__init__()
        self.scale, self.pad = scale, pad

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, V², H, W) to (N, (λV)², ⌈H/λ⌉, ⌈W/λ⌉)."""
        return swap_align2nat(x, self.scale, self.pad)
