"""No gradient is computed that no sum and no estimate needs."""

from typing import Any

import pytest
import torch
from intgrads import integrated_gradients
from intgrads.integral.quadrature import Method
from shared.toys import Quadratic
from torch import Tensor


class Counting(Quadratic):
    """Notes how many points are computed in all, and how many with a gradient."""

    def __init__(self) -> None:
        super().__init__(60)
        self.points = self.with_gradient = 0

    def forward(self, x: Tensor) -> Tensor:
        self.points += len(x)
        if x.requires_grad:
            self.with_gradient += len(x)
        return super().forward(x)


@pytest.mark.parametrize(
    ("method", "n_steps", "counts"),
    [
        ("gausslegendre", 8, (10, 8)),
        ("riemann_middle", 8, (10, 8)),
        ("riemann_left", 8, (9, 9)),
        ("riemann_right", 8, (9, 9)),
        ("riemann_trapezoid", 8, (8, 8)),
        ("gausslegendre", 3, (5, 5)),  # so few tell nothing of the error without the ends
    ],
)
@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize("chunk_rows", [3, 32])
def test_at_the_ends_a_rule_without_them_needs_outputs_alone(
    method: Method, n_steps: int, counts: tuple[int, int], target: int | None, chunk_rows: int
) -> None:
    network, x = Counting(), torch.linspace(0.1, 1, 60)[None]
    found = integrated_gradients(network, x, target=target, n_steps=n_steps, method=method, chunk_rows=chunk_rows)
    assert (network.points, network.with_gradient) == counts
    assert found.evaluations == counts[0]
    assert found.difference[0] == pytest.approx(
        float(found.output[found.targets[0]] - found.baseline_output[found.targets[0]])
    )


def test_a_refinement_has_gradients_at_all_of_its_nodes() -> None:
    network = Counting()
    options: dict[str, Any] = {"tolerance": 0.01}
    found = integrated_gradients(network, torch.linspace(0.1, 1, 60)[None], target=0, **options)
    assert network.points == network.with_gradient == found.evaluations == len(found.alphas)
