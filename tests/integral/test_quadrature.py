"""Every rule integrates constants exactly, and polynomials as far as its degree says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intgrads.integral.quadrature import METHODS, Method, quadrature

DEGREES: dict[Method, int] = {
    "riemann_left": 0,
    "riemann_right": 0,
    "riemann_middle": 1,
    "riemann_trapezoid": 1,
    "gausslegendre": 3,
}


@given(method=st.sampled_from(METHODS), n_steps=st.integers(2, 200))
def test_weights_sum_to_one_and_nodes_increase_within_the_path(method: Method, n_steps: int) -> None:
    rule = quadrature(method, n_steps)
    assert len(rule) == len(rule.weights) == n_steps
    assert rule.weights.sum() == pytest.approx(1, abs=1e-12)
    assert (rule.weights > 0).all()
    assert (np.diff(rule.alphas) > 0).all()
    assert rule.alphas[0] >= 0
    assert rule.alphas[-1] <= 1


@pytest.mark.parametrize(("method", "degree"), DEGREES.items())
def test_degree_of_exactness_with_two_nodes(method: Method, degree: int) -> None:
    rule = quadrature(method, 2)
    for power in range(degree + 1):
        assert rule.weights @ rule.alphas**power == pytest.approx(1 / (power + 1), abs=1e-14)
    assert rule.weights @ rule.alphas ** (degree + 1) != pytest.approx(1 / (degree + 2), abs=1e-3)


def test_an_unknown_rule_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(ValueError, match="riemann_middle"):
        quadrature("simpson", 4)  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "n_steps"), [("gausslegendre", 0), ("riemann_trapezoid", 1)])
def test_too_few_nodes_are_refused(method: Method, n_steps: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        quadrature(method, n_steps)
