"""Deletion and insertion curves are what a network really does, and tell a true order from a false one."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intgrads.integral.ablation import (
    Curves,
    Ends,
    Verification,
    chances_of_a_map,
    chances_of_groups,
    ranked_groups,
    slices,
    verify,
)
from numpy.typing import NDArray
from torch import Tensor

SIDE = 8
PIXELS = SIDE * SIDE
UNITS = torch.arange(3 * PIXELS).view(3, PIXELS).T
"""Of a picture (3, 8, 8)."""

WEIGHTS = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
# Patches matter, as in pictures.
WEIGHTS = torch.nn.functional.avg_pool2d(WEIGHTS[None], 3, 1, 1)[0].double()
X = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double() + 0.5
BASELINE = torch.zeros_like(X)
ENDS = Ends(X, [BASELINE], UNITS)


def linear(points: Tensor) -> Tensor:
    return (points * WEIGHTS).flatten(1).sum(1)


SCORES: NDArray[np.float64] = (WEIGHTS * X).sum(0).flatten().numpy()
"""Exact attributions of the linear network, a pixel each."""


def checked(scores: NDArray[np.float64], output: Callable[[Tensor], Tensor] = linear) -> Verification:
    parts = slices(scores, np.ones(PIXELS, bool))
    return verify(output, ENDS, [parts, *chances_of_a_map(parts, (SIDE, SIDE))], 5)


def test_of_a_linear_network_the_curves_are_the_sums_of_what_went() -> None:
    parts = slices(SCORES, np.ones(PIXELS, bool), 16)
    curves = verify(linear, ENDS, [parts], 7).curves
    gone = np.concatenate([[0.0], np.cumsum([SCORES[parts == k].sum() for k in range(16)])])
    np.testing.assert_allclose(curves.insertion, gone, atol=1e-12)
    np.testing.assert_allclose(curves.deletion, SCORES.sum() - gone, atol=1e-12)
    np.testing.assert_allclose(curves.areas, np.arange(17) / 16)
    share = gone / SCORES.sum()
    assert curves.insertion_area == pytest.approx(np.mean((share[1:] + share[:-1]) / 2))
    assert curves.deletion_area == pytest.approx(1 - curves.insertion_area)


def test_a_true_map_beats_chance_and_the_same_upside_down_does_not() -> None:
    assert checked(SCORES).better_than_chance
    assert not checked(-SCORES).better_than_chance
    assert not checked(np.random.default_rng(0).normal(size=PIXELS)).better_than_chance


def test_the_ends_are_the_network_s_own_outputs() -> None:
    found = checked(SCORES, lambda points: torch.tanh(linear(points)))
    for curves in (found.curves, *found.chances):
        assert curves.deletion[0] == curves.insertion[-1] == pytest.approx(float(torch.tanh(linear(X[None]))))
        assert curves.deletion[-1] == curves.insertion[0] == 0


def test_over_several_baselines_the_curves_are_the_means() -> None:
    starts = [BASELINE, X.flip(2), 2 * X]
    parts = slices(SCORES, np.ones(PIXELS, bool))
    means = verify(linear, Ends(X, starts, UNITS), [parts], 7).curves
    each = [verify(linear, Ends(X, [start], UNITS), [parts], 7).curves for start in starts]
    np.testing.assert_allclose(means.deletion, np.mean([one.deletion for one in each], 0), atol=1e-12)
    np.testing.assert_allclose(means.insertion, np.mean([one.insertion for one in each], 0), atol=1e-12)


def test_the_fewest_parts_that_keep_a_share_are_the_first_to_reach_it() -> None:
    curves = Curves(np.arange(5) / 4, np.array([2.0, 2, 1, 1, 0]), np.array([0.0, 1, 0.8, 1.6, 2]))
    assert [curves.first_to_keep(share) for share in (0.0, 0.4, 0.5, 0.51, 0.8, 1.0)] == [0, 1, 1, 3, 3, 4]


def test_what_x_and_baseline_agree_on_counts_for_no_area() -> None:
    x = X.clone()
    x[:, : SIDE // 2] = 0
    parts = slices(SCORES, np.arange(PIXELS) >= PIXELS // 2, 4)
    curves = verify(linear, Ends(x, [BASELINE], UNITS), [parts], 7).curves
    np.testing.assert_allclose(curves.areas, np.arange(5) / 4)
    assert (parts[: PIXELS // 2] == 3).all()


def test_where_nothing_is_between_the_ends_no_order_is_better_than_chance() -> None:
    found = checked(SCORES, lambda points: torch.ones(len(points)))
    assert np.isnan(found.curves.deletion_area)
    assert not found.better_than_chance


def test_overlapping_groups_go_with_the_first_that_has_them_and_the_rest_last() -> None:
    groups = np.array([[1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]], bool)
    assert ranked_groups(groups, [1, 2, 0, 3]).tolist() == [1, 0, 0, 2, 3, 3]  # the third has nothing left


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 90), st.integers(1, 30), st.integers(0, 10**6))
def test_slices_are_equal_and_in_the_order_of_the_scores(units: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, changed = random.normal(size=units), random.random(units) < 0.8
    parts = slices(scores, changed, count)
    sizes = np.bincount(parts[changed])
    if changed.any():
        assert sizes.max() - sizes.min() <= 1
        assert len(sizes) == min(count, changed.sum())
    for part in range(parts.max()):
        assert scores[changed & (parts == part)].min() >= scores[changed & (parts == part + 1)].max()


@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_chances_have_the_same_parts_and_are_the_same_at_every_call(shape: tuple[int, ...]) -> None:
    parts = slices(SCORES, np.ones(PIXELS, bool))
    for chances in (chances_of_a_map(parts, shape), chances_of_groups(parts)):
        for chance in chances:
            assert sorted(np.bincount(chance)) == sorted(np.bincount(parts))
            assert (chance != parts).any()
    many = np.arange(100) // 2
    for chance in chances_of_groups(many):
        assert (chance[::2] == chance[1::2]).all()  # no part is cut
        assert set(chance) == set(range(16))
    assert all(map(np.array_equal, chances_of_a_map(parts, shape), chances_of_a_map(parts, shape)))
