"""SwapAlign2Nat is its definition, everywhere and at chosen places, and its gradient is that of what it computes."""

import itertools
import math

import numpy as np
import pytest
import torch
from intgrads.detections.swap_align import PAD, swap_align2nat, swap_align2nat_at
from numpy.typing import NDArray


def by_definition(x: NDArray[np.float64], scale: int, pad: float) -> NDArray[np.float64]:
    """One scalar after the other, all sixteen corners, from the formulas of Chen et al. (TensorMask, 2019)."""
    window, _, height, width = x.shape
    size = scale * window
    result = np.zeros((size, size, math.ceil(height / scale), math.ceil(width / scale)))
    for v, u, row, column in np.ndindex(*result.shape):
        place = (
            (v + 0.5) / scale - 0.5,
            (u + 0.5) / scale - 0.5,
            row * scale + v - scale * window / 2 + 0.5,
            column * scale + u - scale * window / 2 + 0.5,
        )
        for corner in itertools.product((0, 1), repeat=4):
            at = [math.floor(p) + c for p, c in zip(place, corner, strict=True)]
            weight = math.prod(1 - abs(p - a) for p, a in zip(place, at, strict=True))
            inside = all(0 <= a < n for a, n in zip(at, x.shape, strict=True))
            result[v, u, row, column] += weight * (x[tuple(at)] if inside else pad)
    return result


def maps(window: int, height: int, width: int, n: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(window + height)
    return torch.randn(n, window**2, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("window", "height", "width"), [(3, 5, 7), (2, 4, 3), (1, 3, 2), (5, 2, 2)])
def test_it_is_its_definition(scale: int, window: int, height: int, width: int) -> None:
    x = maps(window, height, width, 2)
    found = swap_align2nat(x, scale)
    for n in range(2):
        expected = by_definition(x[n].view(window, window, height, width).numpy(), scale, PAD)
        np.testing.assert_allclose(found[n].numpy().reshape(expected.shape), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_chosen_places_get_what_all_get(scale: int) -> None:
    x = maps(3, 9, 6)
    everywhere = swap_align2nat(x, scale)
    rows, columns = (torch.arange(n).repeat(2) for n in everywhere.shape[2:])
    rows, columns = rows[: len(columns)], columns[: len(rows)]
    found = swap_align2nat_at(x[0], scale, rows, columns)
    expected = everywhere[0, :, rows, columns].T.reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_no_place_at_all() -> None:
    nowhere = torch.zeros(0, dtype=torch.long)
    assert swap_align2nat_at(maps(3, 4, 4)[0], 2, nowhere, nowhere).shape == (0, 6, 6)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_gradients(scale: int) -> None:
    x = maps(2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: swap_align2nat(x, scale), (x,))
    one = torch.tensor([1, 0])
    assert torch.autograd.gradcheck(lambda x: swap_align2nat_at(x[0], scale, one, one), (x,))


def test_the_pad_is_a_constant() -> None:
    """Where nothing but pad is read, there is its value and no gradient."""
    x = maps(3, 4, 4).requires_grad_()
    corner = swap_align2nat(x, 1, pad=2.5)[0, 0, 0, 0]
    assert corner.item() == 2.5
    assert not torch.autograd.grad(corner, x)[0].any()


def test_float32_is_near_float64() -> None:
    x = maps(5, 12, 9)
    torch.testing.assert_close(swap_align2nat(x.float(), 4).double(), swap_align2nat(x, 4), rtol=0, atol=1e-5)


def test_channels_that_are_no_square_are_refused() -> None:
    with pytest.raises(ValueError, match="square number of channels, not 6"):
        swap_align2nat(torch.zeros(1, 6, 4, 4), 2)
