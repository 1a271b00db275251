"""Points of one path or several through a network, in batches that memory holds, on one device or several."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import torch
from torch import Tensor

from intgrads.integral.attribution import PathIntegral
from intgrads.integral.functionals import total

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]
"""A network: (B, *shape) to logits (B, C), differentiable, each row independent of the others."""


def evaluate(
    forward: Forward,
    integrals: Sequence[PathIntegral],
    rows: Sequence[tuple[int, float]],
    before_pass: Callable[[], None] = lambda: None,
) -> list[Tensor | None]:
    """Compute outputs, and gradients where needed, at some points in one batch; hand the outputs to their integrals.

    Parameters
    ----------
    forward : Forward
    integrals : sequence of PathIntegral
    rows : sequence of (int, float)
        Index of the integral and the point's alpha. At all of them gradients are needed, or at none.
    before_pass : callable, optional
        Called before each pass through the network; raising leaves the integrals as they were.

    Returns
    -------
    list of Tensor, (T, *shape), or None
        The gradients of each row, where needed.
    """
    before_pass()
    points = torch.stack([integrals[i].path.point(alpha) for i, alpha in rows])
    with torch.set_grad_enabled(needed := _needs_gradient(integrals, rows[0])):
        logits = forward(points.requires_grad_(needed))
    for (i, alpha), row in zip(rows, logits.detach(), strict=True):
        integrals[i].add_output(alpha, row)
    if not needed:
        return [None] * len(rows)
    functionals = [integrals[i].functionals for i, _ in rows]
    rounds = max(map(len, functionals))
    gradients = []
    for t in range(rounds):
        before_pass()
        # A path with fewer targets than its neighbours repeats its last one; the surplus is cut off below.
        chosen = total([row[min(t, len(row) - 1)] for row in functionals], logits)
        gradients.append(torch.autograd.grad(chosen, points, retain_graph=t < rounds - 1)[0])
    return [torch.stack([g[r] for g in gradients[: len(functionals[r])]]) for r in range(len(rows))]


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

    def attempt(forward: Forward, rows: list[tuple[int, float]]) -> list[Tensor | None] | None:
        """Return the gradients of some rows, where needed; None where memory ran out."""
        try:
            return evaluate(forward, integrals, rows, before_pass)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
            return None

    for i in unanswered:
        ask(i)
    # Points of which the output is enough come first, as one batch.
    queue = deque(sorted(queue, key=lambda row: (_needs_gradient(integrals, row), len(forwards) > 1 and row[1] != 1)))
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
                    if gradient is not None:
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
    """Take off the queue what each copy of the network computes next, all with gradients or all without.

    Several copies must all know the targets. A path whose target is the predicted class gets it with x: those points,
    which then lead the queue, go first and alone.
    """
    gradients = _needs_gradient(integrals, queue[0])
    alike = sum(1 for _ in takewhile(lambda row: _needs_gradient(integrals, row) == gradients, queue))
    if copies > 1 and any(integral.targets is None for integral in integrals):
        shares = [min(chunk_rows, len(integrals))]
    else:
        shares = [min(chunk_rows, -(-alike // copies))] * copies
    chunks = []
    for share in shares:
        chunks.append([queue.popleft() for _ in range(min(share, alike))])
        alike -= len(chunks[-1])
    return [rows for rows in chunks if rows]


def _needs_gradient(integrals: Sequence[PathIntegral], row: tuple[int, float]) -> bool:
    i, alpha = row
    return integrals[i].needs_gradient(alpha)


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
"""Words by which libraries say that memory ran out."""

OUT_OF_MEMORY_IN_ONEDNN = ("could not create a primitive", "could not create a memory", "could not execute a primitive")
"""All that oneDNN says of it; what it does not know how to compute, it calls a primitive's descriptor."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out, on a GPU or a CPU, or came of one that says so."""
    if error is None:
        return False
    said = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or said in OUT_OF_MEMORY_IN_ONEDNN:
        return True
    return any(words in said for words in OUT_OF_MEMORY) or is_out_of_memory(error.__context__)
