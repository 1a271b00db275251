"""Rules of quadrature on [0, 1]: where a path is evaluated and how much each node weighs.

The five names are Captum's. The weights of every rule sum to 1, which is where ours differs from Captum's trapezoid
(its weights sum to (n - 1)/n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_legendre

Method = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class Rule:
    """Nodes and weights of one rule.

    Attributes
    ----------
    alphas : ndarray, (n,), float64
        Nodes in [0, 1], increasing.
    weights : ndarray, (n,), float64
        Weight of each node; they sum to 1.
    name : str
        As answers call it.
    """

    alphas: NDArray[np.float64]
    weights: NDArray[np.float64]
    name: str = ""

    def __len__(self) -> int:
        return len(self.alphas)

    @property
    def known_weights(self) -> dict[float, float]:
        """The weight of each node."""
        return dict(zip(self.alphas.tolist(), self.weights.tolist(), strict=True))

    def weights_at(self, alphas: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight of each of `alphas`, which hold all nodes; 0 where there is none."""
        weights = np.zeros(len(alphas))
        weights[np.isin(alphas, self.alphas)] = self.weights
        return weights


def quadrature(method: Method, n_steps: int) -> Rule:
    """Return the rule `method` with `n_steps` nodes.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`.
    n_steps : int
        Number of nodes, at least 1; at least 2 for the trapezoid.

    Raises
    ------
    ValueError
        If the method is unknown or has no rule with so few nodes.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    least = 2 if method == "riemann_trapezoid" else 1
    if n_steps < least:
        raise ValueError(f"{method} needs n_steps of at least {least}, got {n_steps}")

    if method == "gausslegendre":
        nodes, weights = roots_legendre(n_steps)
        return Rule((nodes + 1) / 2, weights / 2, method)
    if method == "riemann_trapezoid":
        weights = np.full(n_steps, 1 / (n_steps - 1))
        weights[[0, -1]] /= 2
        return Rule(np.linspace(0, 1, n_steps), weights, method)
    offset = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[method]
    return Rule((np.arange(n_steps) + offset) / n_steps, np.full(n_steps, 1 / n_steps), method)
