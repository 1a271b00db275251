"""Integrated Directional Gradients are those of Sikdar et al. (2021): closed forms, and what a value of groups owes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from intgrads import integrated_gradients
from intgrads.integral.groups import GroupValues, group_values
from numpy.typing import NDArray
from shared.toys import Linear, Quadratic

CHANNELS = 2
sizes = st.integers(1, 7)
seeds = st.integers(0, 10_000)


def problem(units: int, groups: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return attributions, x - x' and groups with the whole input last."""
    random = np.random.default_rng(seed)
    masks = random.random((groups, units)) < 0.5
    masks[~masks.any(1), 0] = True
    return (
        random.normal(size=(units, CHANNELS)),
        random.normal(size=(units, CHANNELS)),
        np.vstack([masks, np.ones((1, units), dtype=bool)]),
    )


def by_definition(
    gradients: NDArray[np.float64], weights: NDArray[np.float64], step: NDArray[np.float64], mask: NDArray[np.bool_]
) -> float:
    z = np.where(mask[:, None], step, 0)
    directional = [float((g * z / np.linalg.norm(z)).sum()) for g in gradients]
    return float(np.dot(weights, directional))


@given(units=sizes, groups=sizes, seed=seeds)
def test_it_is_the_weighted_mean_of_directional_gradients(units: int, groups: int, seed: int) -> None:
    _, step, masks = problem(units, groups, seed)
    random = np.random.default_rng(seed + 1)
    gradients, weights = random.normal(size=(9, units, CHANNELS)), random.random(9)
    attributions = step * np.tensordot(weights, gradients, 1)
    found = group_values(attributions, step, masks)
    expected = [by_definition(gradients, weights, step, mask) for mask in masks]
    np.testing.assert_allclose(found.idg, expected, atol=1e-10)
    np.testing.assert_allclose(found.integrated_gradients, [attributions[mask].sum() for mask in masks], atol=1e-10)


@given(units=sizes, groups=sizes, seed=seeds, alone=st.booleans())
def test_values_are_the_sum_of_dividends_within(units: int, groups: int, seed: int, alone: bool) -> None:
    attributions, step, masks = problem(units, groups, seed)
    found = group_values(attributions, step, masks, alone)
    family = {frozenset(np.flatnonzero(mask).tolist()) for mask in masks}
    if alone:
        family |= {frozenset([unit]) for unit in range(units)}
    strength = {s: abs(attributions[list(s)].sum() / np.linalg.norm(step[list(s)])) for s in family}
    total = sum(strength.values())
    for k, mask in enumerate(masks):
        own = frozenset(np.flatnonzero(mask).tolist())
        assert found.dividends[k] == pytest.approx(strength[own] / total)
        assert found.values[k] == pytest.approx(sum(s for t, s in strength.items() if t <= own) / total)


@given(units=sizes, groups=sizes, seed=seeds, alone=st.booleans())
def test_properties_of_values(units: int, groups: int, seed: int, alone: bool) -> None:
    attributions, step, masks = problem(units, groups, seed)
    found = group_values(attributions, step, masks, alone)
    assert (found.values >= 0).all()
    assert found.values[-1] == pytest.approx(1)
    for i, one in enumerate(masks):
        for j, other in enumerate(masks):
            if (one <= other).all():
                assert found.values[i] <= found.values[j] + 1e-12
            if not (one & other).any():
                both = np.vstack([masks, one | other])
                together = group_values(attributions, step, both, alone)
                assert together.values[-1] >= together.values[i] + together.values[j] - 1e-12


@given(units=sizes, groups=sizes, seed=seeds)
def test_order_and_repetition_change_nothing(units: int, groups: int, seed: int) -> None:
    attributions, step, masks = problem(units, groups, seed)
    found = group_values(attributions, step, masks)
    order = np.random.default_rng(seed).permutation(len(masks))
    again = group_values(attributions, step, np.vstack([masks[order], masks]))
    np.testing.assert_allclose(again.values[: len(masks)], found.values[order])
    np.testing.assert_allclose(again.values[len(masks) :], found.values)
    np.testing.assert_allclose(again.dividends[len(masks) :], found.dividends)


def groups_of(network: torch.nn.Module, x: torch.Tensor, masks: NDArray[np.bool_]) -> GroupValues:
    result = integrated_gradients(network, x, target=1, n_steps=3)
    return group_values(result.integrated_gradients[0].numpy()[:, None], x[0].numpy()[:, None], masks)


MASKS = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]], dtype=bool)


def test_closed_form_of_a_linear_network() -> None:
    """IDG(S) is W · ẑ."""
    network, x = Linear(4), torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    found = groups_of(network, x, MASKS)
    weight = network.weight[1].detach().double().numpy()
    for k, mask in enumerate(MASKS):
        z = np.where(mask, x[0].double().numpy(), 0)
        assert found.idg[k] == pytest.approx(weight @ z / np.linalg.norm(z), rel=1e-6)


def test_closed_form_of_a_quadratic_network() -> None:
    """∇f is 2 W ⊙ αx, whose mean along the path is W ⊙ x."""
    network, x = Quadratic(4), torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    found = groups_of(network, x, MASKS)
    weight = network.weight[1].detach().double().numpy()
    for k, mask in enumerate(MASKS):
        z = np.where(mask, x[0].double().numpy(), 0)
        assert found.idg[k] == pytest.approx((weight * z) @ z / np.linalg.norm(z), rel=1e-6)


def test_a_group_without_a_step_has_no_idg() -> None:
    attributions, step, masks = problem(4, 2, 0)
    step[1:3] = 0
    attributions[1:3] = 0
    masks[0] = [False, True, True, False]
    found = group_values(attributions, step, masks)
    assert found.idg[0] == found.dividends[0] == found.values[0] == 0
    assert np.isfinite(found.values).all()


def test_nothing_moved_the_output() -> None:
    _, step, masks = problem(4, 2, 0)
    found = group_values(np.zeros_like(step), step, masks)
    assert not found.values.any()
    assert not found.dividends.any()


@pytest.mark.parametrize(
    ("groups", "message"),
    [(np.zeros((1, 4), dtype=bool), "group 0 is empty"), (np.ones((1, 3), dtype=bool), "do not fit")],
)
def test_bad_groups_are_refused(groups: NDArray[np.bool_], message: str) -> None:
    attributions, step, _ = problem(4, 2, 0)
    with pytest.raises(ValueError, match=message):
        group_values(attributions, step, groups)
