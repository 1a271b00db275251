"""What groups carry has an error of the right size, also where single units are in the family."""

from typing import Any

import numpy as np
import pytest
import torch
from intgrads.integral.attribution import PathIntegral
from intgrads.integral.batches import integrate
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.groups import GroupValues, group_values
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import quadrature
from torch import Tensor, nn

UNITS, GROUPS = 60, 8


class Jumps(nn.Module):
    """A network of ReLUs, whose gradient jumps at many places along a path from zeros."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.inner = torch.randn(UNITS, 300, generator=random, dtype=torch.float64)
        self.kinks = torch.randn(300, generator=random, dtype=torch.float64) * UNITS**0.5
        self.outer = torch.randn(300, 1, generator=random, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.relu(x @ self.inner - self.kinks) @ self.outer
        return out


def masks(seed: int) -> Any:
    random = np.random.default_rng(seed)
    return np.vstack([random.random((GROUPS - 1, UNITS)) < 0.3, np.ones((1, UNITS), dtype=bool)])


def values(seed: int, n_steps: int, units: bool, unit_errors: bool = True) -> GroupValues:
    """Return what groups carry of a network's output at ones."""
    groups, x = masks(seed), torch.ones(UNITS, dtype=torch.float64)

    def sums(along: Tensor) -> Any:
        return np.concatenate([along.numpy(), along.numpy() @ groups.T], axis=1)

    rule = quadrature("riemann_middle", n_steps)
    integral = PathIntegral(StraightPath(x, 0 * x, (0,)), FixedNodes(rule), keep_gradients=False, sums=sums)
    integrate([Jumps(seed)], [integral], 64)
    found = integral.finish()

    def errors(combine: Any) -> Any:
        (own_combination,) = combine
        return found.errors.of_sums(0, lambda sums: own_combination(sums[:, :UNITS], sums[:, UNITS:]))

    own = found.integrated_gradients[0].double().numpy()[:, None]
    return group_values(own, np.ones_like(own), groups, units, errors=errors, unit_errors=unit_errors)


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("figure", ["values", "dividends", "idg"])
def test_it_is_as_large_as_the_true_one(units: bool, figure: str) -> None:
    true, told = [], []
    for seed in range(12):
        found, exact = values(seed, 12, units), values(seed, 2000, units)
        true.append(getattr(found, figure) - getattr(exact, figure))
        told.append(getattr(found, f"{figure}_error"))
    ratio = np.sqrt(np.mean(np.square(told)) / np.mean(np.square(true)))
    assert 0.5 < ratio < 2


def test_without_the_sums_of_units_there_is_none_for_what_holds_them() -> None:
    found = values(0, 12, units=True, unit_errors=False)
    assert np.isfinite(found.idg_error).all()
    assert np.isnan(found.values_error).all()
    assert np.isnan(found.dividends_error).all()
    assert np.isfinite(values(0, 12, units=False, unit_errors=False).values_error).all()
