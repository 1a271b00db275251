"""The profile of a path: what its nodes add up to is the integral, for any rule, and however few are shown."""

from typing import Any

import numpy as np
import pytest
import torch
from intgrads.integral.attribution import PathIntegral
from intgrads.integral.batches import integrate
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.nodes import Nodes
from intgrads.integral.path import StraightPath
from intgrads.integral.profile import Profile
from intgrads.integral.quadrature import quadrature
from intgrads.integral.refinement import Refinement
from shared.toys import small_network

RULES: dict[str, Nodes] = {
    "fixed": FixedNodes(quadrature("gausslegendre", 20)),
    "trapezoid": FixedNodes(quadrature("riemann_trapezoid", 7)),
    "refined": Refinement(0.01, 200, 5),
}


def by_rows(along: torch.Tensor) -> Any:
    return along.sum((1, 3)).double().numpy()


@pytest.mark.parametrize("nodes", RULES.values(), ids=RULES)
def test_its_nodes_add_up_to_the_integral(nodes: Nodes) -> None:
    network = small_network().eval().requires_grad_(False)
    x = torch.randn(3, 8, 10, generator=torch.Generator().manual_seed(1))
    path = StraightPath(x, torch.zeros_like(x), (0, 2))
    integral = PathIntegral(path, nodes, keep_gradients=False, profile=by_rows)
    integrate([network], [integral], 16)
    attribution = integral.finish()
    profile = attribution.profile
    assert profile is not None
    assert profile.along.shape == (2, len(profile.alphas), 8)
    total = (profile.along * profile.step_sizes[:, None]).sum(1)
    np.testing.assert_allclose(total, by_rows(attribution.integrated_gradients), rtol=1e-4, atol=1e-5)
    assert profile.computed[[0, -1]].tolist() == [0, 1]
    np.testing.assert_array_equal(profile.values[:, -1], attribution.value)
    np.testing.assert_array_equal(profile.values[:, 0], attribution.baseline_value)
    for most in (1, 3, len(profile.alphas)):
        thinned = profile.thinned(most)
        assert len(thinned.alphas) == min(most, len(profile.alphas))
        np.testing.assert_allclose((thinned.along * thinned.step_sizes[:, None]).sum(1), total, rtol=1e-4, atol=1e-5)


def test_there_is_none_unless_it_is_asked_for() -> None:
    x = torch.ones(3, 8, 10)
    integral = PathIntegral(StraightPath(x, 0 * x, (0,)), RULES["fixed"])
    integrate([small_network().eval().requires_grad_(False)], [integral], 16)
    assert integral.finish().profile is None


def test_weights_that_cancel_leave_nothing_undefined() -> None:
    profile = Profile(
        np.array([0, 1.0]), np.zeros((1, 2)), np.array([0, 1.0]), np.array([1.0, -1.0]), np.ones((1, 2, 3), np.float32)
    )
    assert np.isfinite(profile.thinned(1).along).all()
