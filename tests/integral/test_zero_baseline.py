"""The trap of the zero baseline: a trained BiT hardly changes until α is tiny, and fixed steps miss where it does.

The network is that of ``training/bit_digits.py``, trained on scikit-learn's digits.
"""

import copy

import numpy as np
import pytest
import torch
from bit_digits import ARCHITECTURE, WEIGHTS, accuracy, digits, normalised
from intgrads import integrated_gradients
from intgrads.archives.archive import open_archive, write_archive
from intgrads.networks import bit
from intgrads.networks.family import Order
from intgrads.pictures.classifier import ImageClassifier
from intgrads.settings import Settings
from torch import Tensor, nn


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ImageClassifier:
    """Return the network as a worker has it: through the family's own archive."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bit.ARCHITECTURES, "bit-digits", ARCHITECTURE)
        write_archive(Order("bit-digits", WEIGHTS, [str(i) for i in range(10)], Settings()), folder)
    network = open_archive(folder).network
    assert isinstance(network, ImageClassifier)
    return network


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    return normalised(digits()[1])


def integral(network: nn.Module, x: Tensor, target: int) -> Tensor:
    """Return IG by brute force in float64: four Gauss-Legendre nodes in each of 250 panels, equal in log α."""
    ends = np.concatenate([[0], np.geomspace(1e-12, 1, 250)])
    nodes, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(ends)[:, None] / 2
    alphas = torch.from_numpy((ends[:-1, None] + half * (nodes + 1)).ravel())[:, None, None, None]
    shares = torch.from_numpy((half * weights).ravel())[:, None, None, None]
    total = torch.zeros(())
    for rows in range(0, len(alphas), 100):
        alpha, share = alphas[rows : rows + 100], shares[rows : rows + 100]
        points = (alpha * x.double()).requires_grad_()
        gradients = torch.autograd.grad(network(points)[:, target].sum(), points)[0]
        total = total + (share * gradients).sum(0)
    return total * x[0].double()


def test_the_network_is_a_trained_one(network: ImageClassifier, held_out: Tensor) -> None:
    assert accuracy(network.module, held_out, torch.from_numpy(digits()[3])) > 0.99


def test_pictures_are_prepared_in_training_as_in_serving(network: ImageClassifier, held_out: Tensor) -> None:
    torch.testing.assert_close(network.picture.normalise(digits()[1][0]), held_out[0])


@pytest.mark.parametrize("k", range(4))
def test_fixed_steps_miss_the_difference_and_a_tolerance_finds_the_integral(
    k: int, network: ImageClassifier, held_out: Tensor
) -> None:
    x = held_out[k : k + 1]
    tiny = network.module(torch.cat([x, 1e-3 * x]))
    assert (tiny[1] - tiny[0]).abs().max() < 0.05 * tiny[0].abs().max()  # nothing has changed at a thousandth of x

    target = int(tiny[0].argmax())
    fixed = integrated_gradients(network.module, x, target=target, n_steps=50)
    size = abs(fixed.difference[0])
    assert size > 1
    assert not fixed.converged[0]
    assert abs(fixed.convergence_delta[0]) > 0.5 * size

    expected = integral(copy.deepcopy(network.module).double(), x, target)
    assert abs(expected.sum().item() - fixed.difference[0]) < 0.01 * size
    refined = integrated_gradients(network.module, x, target=target, tolerance=0.05)
    assert refined.converged[0]
    assert refined.evaluations <= 500
    assert abs(refined.convergence_delta[0]) <= refined.local_error[0] <= 0.05 * size

    def error(found: Tensor) -> float:
        return float((found[0] - expected).abs().sum() / expected.abs().sum())

    assert error(fixed.integrated_gradients) > 0.5
    # Not their sum alone: errors of opposite sign near the baseline must not be taken for none.
    assert error(refined.integrated_gradients) < 2 * 0.05  # an estimate is right within a factor of 2


def test_black_is_a_sane_baseline(network: ImageClassifier, held_out: Tensor) -> None:
    x = held_out[:1]
    result = integrated_gradients(network.module, x, -torch.ones_like(x), tolerance=0.05)
    assert result.converged[0]
    assert result.evaluations < 60
