r"""Integrated Gradients in one pass, with every step's gradient and the error of the integral.

For a network's output f of one target class, an input x and a baseline x', Sundararajan, Taly and Yan (ICML 2017,
arXiv 1703.01365, equation 1) define

.. math:: IG = (x - x') \odot \int_0^1 \nabla f(x' + \alpha (x - x'))\, d\alpha
             \approx (x - x') \odot \sum_k w_k \nabla f(x' + \alpha_k (x - x'))

and prove completeness, :math:`\sum IG = f(x) - f(x')` (proposition 1). The gradients at the nodes are computed once
and serve as the per-step gradients, the integral and its error; x and x' are evaluated in the same batches, so that
both sides of completeness come from real forward passes. Nothing is rescaled to make them agree.

This module takes tensors and returns tensors. It knows nothing of pictures, requests or servers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intgrads.quadrature import Method, Rule, quadrature

Forward = Callable[[Tensor], Tensor]
"""A network: (B, *shape) to logits (B, C), differentiable, each row independent of the others."""

RELATIVE_ERROR = 0.05
"""Without a tolerance an integral counts as converged where |delta| is at most this part of the difference."""

DIFFERENCE_FLOOR = 1e-3
"""Least difference, in logits, that an error is held against: f(x) = f(x') would ask for no error at all."""


@dataclass(frozen=True)
class Path:
    """The straight line from a baseline to an input, and the outputs to attribute.

    Attributes
    ----------
    input, baseline : Tensor, (*shape)
        x and x', on the network's device.
    targets : tuple of int or None
        Output indices; None for the class predicted at x.
    """

    input: Tensor
    baseline: Tensor
    targets: tuple[int, ...] | None = None


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
        Sum over the intervals between neighbouring nodes, 0 and 1 included, of the absolute error that the
        trapezoid makes there. f is known at every node, so each of these errors is exact; unlike the delta, errors
        of opposite sign do not cancel in their sum.
    converged : ndarray, (T,), bool
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
    """The integral along one path by a fixed rule, fed one evaluated point at a time.

    Parameters
    ----------
    path : Path
    rule : Rule
    keep_gradients : bool, default True
        Whether the gradient at each node is part of the answer. If not, it is added up and forgotten, and memory
        does not depend on the number of nodes.
    """

    def __init__(self, path: Path, rule: Rule, keep_gradients: bool = True) -> None:
        self.path = path
        self.rule = rule
        self.targets = path.targets
        self._keep = keep_gradients
        self._step = (path.input - path.baseline).double()
        self._weights = dict(zip(rule.alphas.tolist(), rule.weights.tolist(), strict=True))
        self._index = {alpha: k for k, alpha in enumerate(self._weights)}
        self._logits: dict[float, Tensor] = {}
        self._slopes: dict[float, NDArray[np.float64]] = {}
        self._total: Tensor | None = None
        self._gradients: Tensor | None = None

    @property
    def alphas(self) -> list[float]:
        """Points to evaluate: x first, since it tells the predicted class, then x', then the nodes between."""
        return [1.0, 0.0] + [a for a in self._weights if 0 < a < 1]

    @property
    def cost(self) -> int:
        """Gradients to compute."""
        return len(self.alphas) * len(self.targets or (0,))

    @property
    def complete(self) -> bool:
        """Whether every point has been added."""
        return len(self._slopes) == len(self.alphas)

    def point(self, alpha: float) -> Tensor:
        """Return x' + alpha (x - x'), exactly x at 1 and exactly x' at 0."""
        if alpha == 1:
            return self.path.input
        if alpha == 0:
            return self.path.baseline
        return torch.lerp(self.path.baseline, self.path.input, alpha)

    def add_output(self, alpha: float, logits: Tensor) -> None:
        """Take the logits (C,) at a point; those at x settle a target that the caller left open."""
        if self.targets is None:
            self.targets = (int(logits.argmax()),)
        self._logits[alpha] = logits

    def add_gradient(self, alpha: float, gradient: Tensor) -> None:
        """Take the gradients (T, *shape) at a point whose output has been added."""
        precise = gradient.double()
        self._slopes[alpha] = (precise * self._step).flatten(1).sum(1).cpu().numpy()
        if alpha not in self._weights:
            return
        if self._total is None:
            self._total = torch.zeros_like(precise)
        self._total += self._weights[alpha] * precise
        if self._keep:
            if self._gradients is None:
                shape = (gradient.shape[0], len(self.rule), *gradient.shape[1:])
                self._gradients = torch.empty(shape, dtype=torch.float32)
            self._gradients[:, self._index[alpha]] = gradient.cpu()

    def finish(self) -> Attribution:
        """Return the attribution once every point has been added."""
        assert self.targets is not None
        assert self._total is not None
        targets = list(self.targets)
        integrated = self._total * self._step
        nodes = sorted(self._slopes)
        values = np.stack([self._logits[a][targets].double().cpu().numpy() for a in nodes])
        slopes = np.stack([self._slopes[a] for a in nodes])
        # A network that overflows gives infinities; telling so is up to who asked.
        with np.errstate(invalid="ignore"):
            difference = values[-1] - values[0]
            local_error = np.abs(interval_errors(np.array(nodes), values, slopes)).sum(0)
        delta = integrated.flatten(1).sum(1).cpu().numpy() - difference
        allowed = RELATIVE_ERROR * np.maximum(np.abs(difference), DIFFERENCE_FLOOR)
        return Attribution(
            targets=self.targets,
            integrated_gradients=integrated.float().cpu(),
            gradients=self._gradients,
            alphas=self.rule.alphas,
            step_sizes=self.rule.weights,
            output=self._logits[1.0].float().cpu(),
            baseline_output=self._logits[0.0].float().cpu(),
            difference=difference,
            convergence_delta=delta,
            local_error=local_error,
            converged=np.abs(delta) <= allowed,
            evaluations=len(nodes),
        )


def interval_errors(
    alphas: NDArray[np.float64], values: NDArray[np.float64], slopes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the trapezoid's error on each interval between neighbouring nodes.

    Parameters
    ----------
    alphas : ndarray, (m,)
        Nodes, increasing.
    values, slopes : ndarray, (m, T)
        f at the nodes, and its derivative along the path, the sum of gradient times (x - x').

    Returns
    -------
    ndarray, (m - 1, T)
        Trapezoid of the slopes minus the true change of f, signed.
    """
    widths = np.diff(alphas)[:, None]
    return widths * (slopes[1:] + slopes[:-1]) / 2 - np.diff(values, axis=0)


def evaluate(forward: Forward, integrals: Sequence[PathIntegral], rows: Sequence[tuple[int, float]]) -> None:
    """Compute outputs and gradients at some points in one batch and hand them to their integrals.

    Parameters
    ----------
    forward : Forward
    integrals : sequence of PathIntegral
    rows : sequence of (int, float)
        Index of the integral and the point's alpha.
    """
    points = torch.stack([integrals[i].point(alpha) for i, alpha in rows]).requires_grad_()
    logits = forward(points)
    for (i, alpha), row in zip(rows, logits.detach(), strict=True):
        integrals[i].add_output(alpha, row)
    targets = [integrals[i].targets or () for i, _ in rows]
    rounds = max(map(len, targets))
    gradients = []
    for t in range(rounds):
        # A path with fewer targets than its neighbours repeats its last one; the surplus is cut off below.
        column = torch.tensor([row[min(t, len(row) - 1)] for row in targets], device=logits.device)
        chosen = logits.gather(1, column[:, None]).sum()
        gradients.append(torch.autograd.grad(chosen, points, retain_graph=t < rounds - 1)[0])
    for r, (i, alpha) in enumerate(rows):
        integrals[i].add_gradient(alpha, torch.stack([g[r] for g in gradients[: len(targets[r])]]))


def integrate(
    forward: Forward,
    integrals: Sequence[PathIntegral],
    chunk_rows: int,
    before_chunk: Callable[[], None] | None = None,
) -> None:
    """Integrate along several paths, the points of all of them sharing batches.

    Parameters
    ----------
    forward : Forward
        In evaluation mode, parameters frozen.
    integrals : sequence of PathIntegral
        Over paths of one shape; complete afterwards.
    chunk_rows : int
        Points a batch at most: what bounds memory. The result depends on it only by float32 rounding.
    before_chunk : callable, optional
        Called before each batch; raising stops the integration and leaves incomplete
        the integrals whose points were not all reached.
    """
    queue = deque((i, alpha) for i, integral in enumerate(integrals) for alpha in integral.alphas)
    while queue:
        if before_chunk is not None:
            before_chunk()
        rows = [queue.popleft() for _ in range(min(chunk_rows, len(queue)))]
        evaluate(forward, integrals, rows)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Hold a module in evaluation mode with its parameters frozen; restore both afterwards."""
    training = {part: part.training for part in module.modules()}
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for part, mode in training.items():
            part.training = mode
        for parameter in trainable:
            parameter.requires_grad_(True)


def integrated_gradients(
    module: nn.Module,
    input: Tensor,
    baseline: Tensor | None = None,
    target: int | Sequence[int] | None = None,
    *,
    n_steps: int = 50,
    method: Method = "gausslegendre",
    chunk_rows: int = 32,
    keep_gradients: bool = True,
) -> Attribution:
    """Attribute a module's output to one input: the core as a notebook calls it.

    Parameters
    ----------
    module : nn.Module
        (B, *shape) to logits (B, C). Run in evaluation mode with frozen parameters, and left as it was.
    input : Tensor, (1, *shape)
    baseline : Tensor, (1, *shape), optional
        Default zeros.
    target : int or sequence of int, optional
        Output indices; default the class predicted at the input.
    n_steps : int, default 50
    method : str, default "gausslegendre"
        A rule of :mod:`intgrads.quadrature`.
    chunk_rows : int, default 32
        Points computed at once.
    keep_gradients : bool, default True
        Whether to return the gradient at each step.

    Raises
    ------
    ValueError
        If the shapes differ, the input is not a single one, or the rule does not exist.
    """
    baseline = torch.zeros_like(input) if baseline is None else baseline
    if input.shape != baseline.shape or input.shape[:1] != (1,):
        raise ValueError(
            f"input and baseline must share one shape (1, …), got {tuple(input.shape)} and {tuple(baseline.shape)}"
        )
    targets = (target,) if isinstance(target, int) else None if target is None else tuple(target)
    path = Path(input[0].detach(), baseline[0].detach(), targets)
    integral = PathIntegral(path, quadrature(method, n_steps), keep_gradients)
    with evaluation_mode(module):
        integrate(module, [integral], chunk_rows)
    return integral.finish()
