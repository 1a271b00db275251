"""What is attributed may be any number made of logits, each with its own difference and errors, in shared batches."""

from typing import Any

import numpy as np
import pytest
import torch
from intgrads import Contrast, Logit, LogOdds, LogProbability, Probability, integrated_gradients
from intgrads.integral.attribution import PathIntegral
from intgrads.integral.batches import evaluate, integrate
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.functionals import Functional, OfTarget
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import quadrature
from shared.toys import Linear, small_network
from torch import Tensor

LOGITS = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
P = LOGITS.softmax(1)

OF_LOGITS: dict[str, tuple[Functional, Tensor]] = {
    "a logit": (Logit(2), LOGITS[:, 2]),
    "against one": (Contrast(0, (3,)), LOGITS[:, 0] - LOGITS[:, 3]),
    "against two": (Contrast(0, (3, 1)), LOGITS[:, 0] - (LOGITS[:, 3] + LOGITS[:, 1]) / 2),
    "against the rest": (LogOdds(1), (P[:, 1] / (1 - P[:, 1])).log()),
    "a log probability": (LogProbability(3), P[:, 3].log()),
    "a probability": (Probability(3), P[:, 3]),
    "a sigmoid's log": (LogProbability(1, True), LOGITS[:, 1].sigmoid().log()),
    "a sigmoid": (Probability(1, True), LOGITS[:, 1].sigmoid()),
}

WAYS: dict[str, OfTarget] = {
    "logit": Logit,
    "contrast": lambda target: Contrast(target, ((target + 1) % 3,)),
    "log-odds": LogOdds,
    "log probability": LogProbability,
    "probability": Probability,
}


@pytest.mark.parametrize("name", OF_LOGITS)
def test_each_is_what_its_formula_says(name: str) -> None:
    functional, expected = OF_LOGITS[name]
    torch.testing.assert_close(functional.of(LOGITS), expected)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_complete_with_its_own_difference(way: str) -> None:
    network = small_network().eval()
    x = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    found = integrated_gradients(network, x, target=[2, 0], n_steps=40, of=WAYS[way])
    for t, target in enumerate((2, 0)):
        with torch.no_grad():
            at_x, at_start = (WAYS[way](target).of(network(point).double()) for point in (x, 0 * x))
        assert found.value[t] == pytest.approx(float(at_x), abs=1e-6)
        assert found.baseline_value[t] == pytest.approx(float(at_start), abs=1e-6)
        assert found.difference[t] == pytest.approx(float(at_x - at_start), abs=1e-6)
        assert abs(found.convergence_delta[t]) < 1e-5
        assert found.local_error[t] < 1e-4
    assert found.converged.all()


def test_a_contrast_is_the_difference_of_two_attributions() -> None:
    network, x = small_network(), torch.rand(1, 3, 8, 10)
    apart = integrated_gradients(network, x, target=0, of=lambda target: Contrast(target, (1, 2))).integrated_gradients
    each = integrated_gradients(network, x, target=[0, 1, 2]).integrated_gradients
    torch.testing.assert_close(apart[0], each[0] - (each[1] + each[2]) / 2, rtol=1e-4, atol=1e-7)


def test_a_shift_of_all_logits_changes_logits_alone() -> None:
    """What all classes share is no answer to `why this one`."""

    class Shifted(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 5 * x.flatten(1).sum(1, keepdim=True)

    x = torch.linspace(0, 1, 20)[None]
    for way, of in WAYS.items():
        plain, shifted = (
            integrated_gradients(kind(20), x, target=0, of=of).integrated_gradients for kind in (Linear, Shifted)
        )
        assert torch.allclose(plain, shifted, atol=1e-5) == (way != "logit"), way


def test_a_probability_next_to_one_still_has_a_gradient() -> None:
    """In float32 1 - p would be 0 from a logit of 17 on, and so would all of the gradient."""
    network = Linear(2, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[40.0, 0.0], [0.0, 0.0]]))
        network.bias.zero_()
    found = integrated_gradients(network, torch.ones(1, 2), torch.full((1, 2), 0.9), target=0, of=Probability)
    exact = float(torch.tensor(-36.0, dtype=torch.float64).exp())
    assert float(found.integrated_gradients[0, 0]) == pytest.approx(exact, rel=0.05)
    assert found.difference[0] == pytest.approx(exact, rel=0.05)


def _integral(x: Tensor, targets: tuple[int, ...] | None, of: OfTarget, steps: int = 6) -> PathIntegral:
    return PathIntegral(
        StraightPath(x, torch.zeros_like(x), targets), FixedNodes(quadrature("gausslegendre", steps)), of=of
    )


def test_questions_of_several_callers_share_batches_and_give_what_they_give_alone() -> None:
    network = small_network().eval().requires_grad_(False)
    x = torch.rand(3, 8, 10)
    asked: list[tuple[Any, OfTarget]] = [((0, 1), of) for of in WAYS.values()] + [(None, Logit), (None, LogOdds)]
    together, alone = ([_integral(x, targets, of) for targets, of in asked] for _ in range(2))
    integrate([network], together, 32)
    for a, b in zip(together, alone, strict=True):
        integrate([network], [b], 32)
        found, expected = a.finish(), b.finish()
        torch.testing.assert_close(found.integrated_gradients, expected.integrated_gradients, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.difference, expected.difference, atol=1e-6)


def test_one_backward_pass_serves_all_questions_of_a_batch() -> None:
    network = small_network().eval().requires_grad_(False)
    integrals = [_integral(torch.rand(3, 8, 10), (0, 1), of) for of in WAYS.values()]
    for integral in integrals:
        integral.next_alphas()
    passes: list[None] = []
    evaluate(network, integrals, [(i, 0.5) for i in range(len(integrals))], lambda: passes.append(None))
    assert len(passes) == 1 + 2  # forward, and backward once for each place of a target


@pytest.mark.parametrize("of", [lambda target: Contrast(target, (3,)), lambda target: Contrast(target, (-1,))])
def test_an_output_that_is_not_there_is_told(of: OfTarget) -> None:
    with pytest.raises(ValueError, match="outputs 0 to 2"):
        integrated_gradients(small_network(), torch.rand(1, 3, 8, 10), target=0, of=of)
