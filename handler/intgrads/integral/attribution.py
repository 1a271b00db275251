"""The integral along one path, fed one evaluated point at a time, and what comes of it: the attribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intgrads.integral.convergence import Samples
from intgrads.integral.nodes import Nodes
from intgrads.integral.path import StraightPath


@dataclass(frozen=True)
class Attribution:
    """What an integral gives, for T targets and n nodes. All tensors are float32 and on the CPU.

    Attributes
    ----------
    targets : tuple of int, length T
    integrated_gradients : Tensor, (T, *shape)
    gradients : Tensor, (T, n, *shape), or None where they were not asked for
        The gradient at each node, not multiplied by x - x' nor by the node's weight.
    alphas, step_sizes : ndarray, (n,), float64
        Nodes and weights of the rule that was used.
    output, baseline_output : Tensor, (C,)
        Logits at x and at x'.
    difference : ndarray, (T,), float64
        f(x) - f(x').
    convergence_delta : ndarray, (T,), float64
        Sum of IG minus the difference.
    local_error : ndarray, (T,), float64
        Sum over the eighths of the path of the absolute error made there; see :mod:`intgrads.integral.convergence`.
    converged : ndarray, (T,), bool
        Of a refinement: whether the local error met the tolerance. Of a fixed rule: whether the delta is at most 5 %
        of the difference.
    evaluations : int
        Points at which the network and its gradient were computed, x and x' among them.
    """

    targets: tuple[int, ...]
    integrated_gradients: Tensor
    gradients: Tensor | None
    alphas: NDArray[np.float64]
    step_sizes: NDArray[np.float64]
    output: Tensor
    baseline_output: Tensor
    difference: NDArray[np.float64]
    convergence_delta: NDArray[np.float64]
    local_error: NDArray[np.float64]
    converged: NDArray[np.bool_]
    evaluations: int


class PathIntegral:
    """The integral along one path, fed one evaluated point at a time.

    Parameters
    ----------
    path : StraightPath
    nodes : Nodes
        A fixed rule, or a refinement that chooses its nodes as it goes.
    keep_gradients : bool, default True
        Whether the gradient at each node is part of the answer. If not, those whose weights are known are added up and
        forgotten, and memory does not depend on the number of nodes. A refinement knows its weights at its end only,
        and holds the gradients until then.
    """

    def __init__(self, path: StraightPath, nodes: Nodes, keep_gradients: bool = True) -> None:
        self.path = path
        self.nodes = nodes
        self.targets = path.targets
        self.complete = False
        self._keep = keep_gradients
        self._weights: Mapping[float, float] | None = nodes.known_weights
        self._logits: dict[float, Tensor] = {}
        self._slopes: dict[float, NDArray[np.float64]] = {}
        self._gradients: dict[float, Tensor] = {}
        self._bends: dict[tuple[float, float, float], NDArray[np.float64]] = {}
        self._total: Tensor | None = None

    @property
    def cost(self) -> int:
        """Gradients to compute at least."""
        return len(self.nodes.start()) * len(self.targets or (0,))

    def next_alphas(self) -> list[float]:
        """Return the points to evaluate next, given all that were asked for before; none when complete.

        x comes first of all, since it tells the predicted class, then x'.
        """
        if not self._slopes:
            return [1.0, 0.0] + [alpha for alpha in self.nodes.start() if 0 < alpha < 1]
        alphas = self.nodes.more(self._samples(), self._bend)
        self.complete = not alphas
        return alphas

    def add_output(self, alpha: float, logits: Tensor) -> None:
        """Take the logits (C,) at a point; those at x settle a target that the caller left open.

        Raises
        ------
        ValueError
            If a target is none of them, or they are no logits of classes.
        """
        if logits.dim() != 1:
            raise ValueError(f"the network must give logits (B, C), got {tuple(logits.shape)} for one row")
        if self.targets is None:
            # Of equal ones the first, as answers list them.
            self.targets = (int(logits.argsort(descending=True, stable=True)[0]),)
        if not all(0 <= target < len(logits) for target in self.targets):
            raise ValueError(f"the targets are outputs 0 to {len(logits) - 1} of the network, got {list(self.targets)}")
        # A copy: what is sent of a row would hold its whole batch, and so the outputs of other callers.
        self._logits[alpha] = logits.clone()

    def add_gradient(self, alpha: float, gradient: Tensor) -> None:
        """Take the gradients (T, *shape) at a point whose output has been added."""
        precise = gradient.double()
        self._slopes[alpha] = (precise * self.path.step).flatten(1).sum(1).cpu().numpy()
        if self._weights is not None:
            if alpha not in self._weights:
                return
            self._total = self._weights[alpha] * precise + (0 if self._total is None else self._total)
            if not self._keep:
                return
        self._gradients[alpha] = gradient.float().cpu()

    def _bend(self, a: float, m: float, b: float) -> NDArray[np.float64]:
        """See :data:`intgrads.integral.nodes.Bend`."""
        if (a, m, b) not in self._bends:
            first, middle, last = (self._gradients[alpha] for alpha in (a, m, b))
            bent = (first - 2 * middle + last) / 4 * self.path.step.cpu()
            self._bends[a, m, b] = bent.abs().flatten(1).sum(1).numpy()
        return self._bends[a, m, b]

    def _samples(self) -> Samples:
        alphas, targets = sorted(self._slopes), list(self._settled())
        return Samples(
            np.array(alphas),
            np.stack([self._logits[alpha][targets].double().cpu().numpy() for alpha in alphas]),
            np.stack([self._slopes[alpha] for alpha in alphas]),
        )

    def _settled(self) -> tuple[int, ...]:
        if self.targets is None:
            raise ValueError("nothing is known at x yet, and so no target")
        return self.targets

    def finish(self) -> Attribution:
        """Return the attribution of a complete integral."""
        targets, samples = self._settled(), self._samples()
        rule = self.nodes.rule(samples)
        total = self._total
        if total is None:
            weighted = (w * self._gradients[a].double() for a, w in zip(rule.alphas, rule.weights, strict=True))
            total = sum(weighted, torch.zeros(1))
        integrated = total * self.path.step.to(total.device)
        delta = integrated.flatten(1).sum(1).cpu().numpy() - samples.difference
        gradients = None
        if self._keep:
            # One after the other, so that what is returned is not held twice.
            gradients = torch.empty(len(targets), len(rule), *self.path.input.shape)
            for k, alpha in enumerate(rule.alphas.tolist()):
                gradients[:, k] = self._gradients.pop(alpha)
        return Attribution(
            targets=targets,
            integrated_gradients=integrated.float().cpu(),
            gradients=gradients,
            alphas=rule.alphas,
            step_sizes=rule.weights,
            output=self._logits[1.0].float().cpu(),
            baseline_output=self._logits[0.0].float().cpu(),
            difference=samples.difference,
            convergence_delta=delta,
            local_error=self.nodes.error(samples),
            converged=self.nodes.converged(samples, delta),
            evaluations=len(samples.alphas),
        )
