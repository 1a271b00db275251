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

import logging
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intgrads.convergence import RELATIVE_ERROR, Samples, local_error
from intgrads.quadrature import Method, Rule, quadrature
from intgrads.refinement import Refinement

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]
"""A network: (B, *shape) to logits (B, C), differentiable, each row independent of the others."""


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
        Sum over the eighths of the path of the absolute error made there; see :mod:`intgrads.convergence`.
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
    path : Path
    nodes : Rule or Refinement
        A fixed rule, or one that chooses its nodes as it goes.
    keep_gradients : bool, default True
        Whether the gradient at each node is part of the answer. If not, a fixed rule's are added up and forgotten, and
        memory does not depend on the number of nodes. A refinement knows its weights at its end only, and holds the
        gradients until then.
    """

    def __init__(self, path: Path, nodes: Rule | Refinement, keep_gradients: bool = True) -> None:
        self.path = path
        self.nodes = nodes
        self.targets = path.targets
        self.complete = False
        self._keep = keep_gradients
        self._step = (path.input - path.baseline).double()
        self._weights: dict[float, float] = {}
        if isinstance(nodes, Rule):
            self._weights = dict(zip(nodes.alphas.tolist(), nodes.weights.tolist(), strict=True))
        self._logits: dict[float, Tensor] = {}
        self._slopes: dict[float, NDArray[np.float64]] = {}
        self._gradients: dict[float, Tensor] = {}
        self._bends: dict[tuple[float, float, float], NDArray[np.float64]] = {}
        self._total: Tensor | None = None

    @property
    def cost(self) -> int:
        """Gradients to compute at least."""
        steps = len(self.nodes) if isinstance(self.nodes, Rule) else len(self.nodes.start())
        return steps * len(self.targets or (0,))

    def next_alphas(self) -> list[float]:
        """Return the points to evaluate next, given all that were asked for before; none when complete.

        x comes first of all, since it tells the predicted class, then x'.
        """
        if not self._slopes:
            nodes = self._weights if isinstance(self.nodes, Rule) else self.nodes.start()
            return [1.0, 0.0] + [alpha for alpha in nodes if 0 < alpha < 1]
        alphas = [] if isinstance(self.nodes, Rule) else self.nodes.more(self._samples(), self._bend)
        self.complete = not alphas
        return alphas

    def point(self, alpha: float) -> Tensor:
        """Return x' + alpha (x - x'), exactly x at 1 and exactly x' at 0."""
        if alpha == 1:
            return self.path.input
        if alpha == 0:
            return self.path.baseline
        return torch.lerp(self.path.baseline, self.path.input, alpha)

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
            self.targets = (int(logits.argmax()),)
        if not all(0 <= target < len(logits) for target in self.targets):
            raise ValueError(f"the targets are outputs 0 to {len(logits) - 1} of the network, got {list(self.targets)}")
        self._logits[alpha] = logits

    def add_gradient(self, alpha: float, gradient: Tensor) -> None:
        """Take the gradients (T, *shape) at a point whose output has been added."""
        precise = gradient.double()
        self._slopes[alpha] = (precise * self._step).flatten(1).sum(1).cpu().numpy()
        if isinstance(self.nodes, Rule):
            if alpha not in self._weights:
                return
            self._total = self._weights[alpha] * precise + (0 if self._total is None else self._total)
        if self._keep or not isinstance(self.nodes, Rule):
            self._gradients[alpha] = gradient.float().cpu()

    def _bend(self, a: float, m: float, b: float) -> NDArray[np.float64]:
        """See :data:`intgrads.refinement.Bend`."""
        if (a, m, b) not in self._bends:
            first, middle, last = (self._gradients[alpha] for alpha in (a, m, b))
            bent = (first - 2 * middle + last) / 4 * self._step.cpu()
            self._bends[a, m, b] = bent.abs().flatten(1).sum(1).numpy()
        return self._bends[a, m, b]

    def _samples(self) -> Samples:
        assert self.targets is not None
        alphas, targets = sorted(self._slopes), list(self.targets)
        return Samples(
            np.array(alphas),
            np.stack([self._logits[alpha][targets].double().cpu().numpy() for alpha in alphas]),
            np.stack([self._slopes[alpha] for alpha in alphas]),
        )

    def finish(self) -> Attribution:
        """Return the attribution of a complete integral."""
        assert self.targets is not None
        samples = self._samples()
        if isinstance(self.nodes, Rule):
            rule, error = self.nodes, local_error(samples)
            assert self._total is not None
            integrated = self._total * self._step
        else:
            rule, error = self.nodes.rule(samples), self.nodes.local_error(samples)
            weighted = (w * self._gradients[a].double() for a, w in zip(rule.alphas, rule.weights, strict=True))
            integrated = sum(weighted, torch.zeros(1)) * self._step.cpu()
        delta = integrated.flatten(1).sum(1).cpu().numpy() - samples.difference
        if isinstance(self.nodes, Rule):
            converged = np.abs(delta) <= samples.allowed(RELATIVE_ERROR)
        else:
            converged = error <= samples.allowed(self.nodes.tolerance)
        gradients = None
        if self._keep:
            # One after the other, so that what is returned is not held twice.
            gradients = torch.empty(len(self.targets), len(rule), *self.path.input.shape)
            for k, alpha in enumerate(rule.alphas.tolist()):
                gradients[:, k] = self._gradients.pop(alpha)
        return Attribution(
            targets=self.targets,
            integrated_gradients=integrated.float().cpu(),
            gradients=gradients,
            alphas=rule.alphas,
            step_sizes=rule.weights,
            output=self._logits[1.0].float().cpu(),
            baseline_output=self._logits[0.0].float().cpu(),
            difference=samples.difference,
            convergence_delta=delta,
            local_error=error,
            converged=converged,
            evaluations=len(samples.alphas),
        )


def evaluate(
    forward: Forward,
    integrals: Sequence[PathIntegral],
    rows: Sequence[tuple[int, float]],
    before_pass: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Compute outputs and gradients at some points in one batch, and hand the outputs to their integrals.

    Parameters
    ----------
    forward : Forward
    integrals : sequence of PathIntegral
    rows : sequence of (int, float)
        Index of the integral and the point's alpha.
    before_pass : callable, optional
        Called before each pass through the network; raising leaves the integrals as they were.

    Returns
    -------
    list of Tensor, (T, *shape)
        The gradients of each row.
    """
    before_pass()
    points = torch.stack([integrals[i].point(alpha) for i, alpha in rows]).requires_grad_()
    logits = forward(points)
    for (i, alpha), row in zip(rows, logits.detach(), strict=True):
        integrals[i].add_output(alpha, row)
    targets = [integrals[i].targets or () for i, _ in rows]
    rounds = max(map(len, targets))
    gradients = []
    for t in range(rounds):
        before_pass()
        # A path with fewer targets than its neighbours repeats its last one; the surplus is cut off below.
        column = torch.tensor([row[min(t, len(row) - 1)] for row in targets], device=logits.device)
        chosen = logits.gather(1, column[:, None]).sum()
        gradients.append(torch.autograd.grad(chosen, points, retain_graph=t < rounds - 1)[0])
    return [torch.stack([g[r] for g in gradients[: len(targets[r])]]) for r in range(len(rows))]


def integrate(
    forwards: Sequence[Forward],
    integrals: Sequence[PathIntegral],
    chunk_rows: int,
    before_pass: Callable[[], None] = lambda: None,
) -> None:
    """Integrate along several paths, the points of all of them sharing batches.

    Parameters
    ----------
    forwards : sequence of Forward
        The network in evaluation mode, parameters frozen; several where copies of it, on other devices say, share the
        points out among them. Each copy then has a thread of its own.
    integrals : sequence of PathIntegral
        Over paths of one shape; complete afterwards.
    chunk_rows : int
        Points a batch at most, of one copy: what bounds memory. Halved where memory runs out all the same. The result
        depends on it only by float32 rounding.
    before_pass : callable, optional
        Called before each pass through the network, forward or backward; raising stops the integration and leaves
        incomplete the integrals whose points were not all reached.
    """
    queue: deque[tuple[int, float]] = deque()
    unanswered = dict.fromkeys(range(len(integrals)), 0)

    def ask(i: int) -> None:
        alphas = integrals[i].next_alphas()
        unanswered[i] = len(alphas)
        queue.extend((i, alpha) for alpha in alphas)

    def attempt(forward: Forward, rows: list[tuple[int, float]]) -> list[Tensor] | None:
        """Return the gradients of some rows; None where memory ran out."""
        try:
            return evaluate(forward, integrals, rows, before_pass)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
            return None

    for i in unanswered:
        ask(i)
    if len(forwards) > 1:
        queue = deque(sorted(queue, key=lambda row: row[1] != 1))
    with ThreadPoolExecutor(len(forwards)) as threads:
        run = threads.map if len(forwards) > 1 else map
        while queue:
            chunks = _chunks(queue, integrals, chunk_rows, len(forwards))
            failed = []
            for rows, gradients in zip(chunks, run(attempt, forwards, chunks), strict=True):
                if gradients is None:
                    failed.append(rows)
                    continue
                for (i, alpha), gradient in zip(rows, gradients, strict=True):
                    integrals[i].add_gradient(alpha, gradient)
                    unanswered[i] -= 1
                    if not unanswered[i]:
                        ask(i)
            for rows in reversed(failed):
                queue.extendleft(reversed(rows))
                chunk_rows = len(rows) // 2
                logger.warning("out of memory with %d points a batch; going on with %d", len(rows), chunk_rows)


def _chunks(
    queue: deque[tuple[int, float]], integrals: Sequence[PathIntegral], chunk_rows: int, copies: int
) -> list[list[tuple[int, float]]]:
    """Take off the queue what each copy of the network computes next.

    Several copies must all know the targets. A path whose target is the predicted class gets it with x: those points,
    which then lead the queue, go first and alone.
    """
    if copies > 1 and any(integral.targets is None for integral in integrals):
        shares = [min(chunk_rows, len(integrals))]
    else:
        shares = [min(chunk_rows, -(-len(queue) // copies))] * copies
    chunks = [[queue.popleft() for _ in range(min(share, len(queue)))] for share in shares]
    return [rows for rows in chunks if rows]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on a GPU or a CPU."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(w in str(error) for w in words)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Hold a module in evaluation mode with its parameters frozen; restore both afterwards."""
    training = [part for part in module.modules() if part.training]
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if training:
        module.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


def _indices(target: Any) -> tuple[int, ...]:
    """Return one target or several, of Python, NumPy or PyTorch, as a tuple."""
    if isinstance(target, (Tensor, np.ndarray)):
        target = target.tolist()
    indices = tuple(operator.index(one) for one in (target if isinstance(target, Iterable) else (target,)))
    if not indices:
        raise ValueError("there is no target; leave it out for the predicted class")
    return indices


def integrated_gradients(
    module: nn.Module,
    input: Tensor,
    baseline: Tensor | None = None,
    target: int | Sequence[int] | Tensor | None = None,
    *,
    n_steps: int = 50,
    method: Method = "gausslegendre",
    chunk_rows: int = 32,
    tolerance: float | None = None,
    max_evaluations: int = 500,
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
    target : int, sequence of int or Tensor of them, optional
        Output indices; default the class predicted at the input.
    n_steps : int, default 50
    method : str, default "gausslegendre"
        A rule of :mod:`intgrads.quadrature`.
    chunk_rows : int, default 32
        Points computed at once.
    tolerance : float, optional
        Refine the nodes until the local error is at most this part of |f(x) - f(x')|; `n_steps` and `method` are then
        not used. Default: the fixed rule.
    max_evaluations : int, default 500
        Most points of a refinement.
    keep_gradients : bool, default True
        Whether to return the gradient at each step.

    Raises
    ------
    ValueError
        If the shapes differ, the input is not a single one, or there is no such rule or target.
    TypeError
        If a target is no whole number.
    """
    baseline = torch.zeros_like(input) if baseline is None else baseline
    if input.shape != baseline.shape or input.shape[:1] != (1,):
        raise ValueError(
            f"input and baseline must share one shape (1, …), got {tuple(input.shape)} and {tuple(baseline.shape)}"
        )
    path = Path(input[0].detach(), baseline[0].detach(), None if target is None else _indices(target))
    nodes = quadrature(method, n_steps) if tolerance is None else Refinement(tolerance, max_evaluations)
    integral = PathIntegral(path, nodes, keep_gradients)
    with evaluation_mode(module):
        integrate([module], [integral], chunk_rows)
    return integral.finish()
