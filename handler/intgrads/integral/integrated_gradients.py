r"""Integrated Gradients in one pass, with every step's gradient and the error of the integral.

For a network's output f of one target class, an input x and a baseline x', Sundararajan, Taly and Yan (ICML 2017,
arXiv 1703.01365, equation 1) define

.. math:: IG = (x - x') \odot \int_0^1 \nabla f(x' + \alpha (x - x'))\, d\alpha
             \approx (x - x') \odot \sum_k w_k \nabla f(x' + \alpha_k (x - x'))

and prove completeness, :math:`\sum IG = f(x) - f(x')` (proposition 1). The gradients at the nodes are computed once
and serve as the per-step gradients, the integral and its error; x and x' are evaluated in the same batches, so that
both sides of completeness come from real forward passes. Nothing is rescaled to make them agree.

This folder takes tensors and returns tensors. It knows nothing of pictures, requests or servers.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intgrads.integral.attribution import Attribution, PathIntegral
from intgrads.integral.batches import integrate
from intgrads.integral.expectation import mean_attribution
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.functionals import Logit, OfTarget
from intgrads.integral.nodes import Nodes
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import Method, quadrature
from intgrads.integral.refinement import Refinement


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
    error_map: bool = False,
    of: OfTarget = Logit,
) -> Attribution:
    """Attribute a module's output to one input: the core as a notebook calls it.

    Parameters
    ----------
    module : nn.Module
        (B, *shape) to logits (B, C). Run in evaluation mode with frozen parameters, and left as it was.
    input : Tensor, (1, *shape)
    baseline : Tensor, (1, *shape) or (K, *shape), optional
        Default zeros. Of several the result is the mean; see :mod:`intgrads.integral.expectation`.
    target : int, sequence of int or Tensor of them, optional
        Output indices; default the class predicted at the input.
    n_steps : int, default 50
    method : str, default "gausslegendre"
        A rule of :mod:`intgrads.integral.quadrature`.
    chunk_rows : int, default 32
        Points computed at once.
    tolerance : float, optional
        Refine the nodes until the map errs by this part of itself at most, as estimated, and the local error is at most
        this part of |f(x) - f(x')|; `n_steps` and `method` are then not used. Default: the fixed rule.
    max_evaluations : int, default 500
        Most points of a refinement.
    keep_gradients : bool, default True
        Whether to return the gradient at each step, of a single baseline.
    error_map : bool, default False
        Whether to return the estimated error of each feature.
    of : callable, default Logit
        What of each target is attributed, say ``lambda target: Contrast(target, (5,))``; see
        :mod:`intgrads.integral.functionals`.

    Raises
    ------
    ValueError
        If the shapes differ, the input is not a single one, or there is no such rule or target.
    TypeError
        If a target is no whole number.
    """
    baseline = torch.zeros_like(input) if baseline is None else baseline
    if input.shape[:1] != (1,) or input.shape[1:] != baseline.shape[1:] or not len(baseline):
        raise ValueError(
            "input and baseline must share one shape (1, …), or the baseline be several, (K, …); got "
            f"{tuple(input.shape)} and {tuple(baseline.shape)}"
        )
    targets = None if target is None else _indices(target)
    integrals: list[PathIntegral] = []
    for start in baseline.detach():
        nodes: Nodes = Refinement(tolerance, max_evaluations) if tolerance else FixedNodes(quadrature(method, n_steps))
        integrals.append(
            PathIntegral(
                StraightPath(input[0].detach(), start, targets),
                nodes,
                keep_gradients and len(baseline) == 1,
                error_map=error_map,
                of=of,
                follows=integrals[0] if integrals else None,
            )
        )
    with evaluation_mode(module):
        integrate([module], integrals, chunk_rows)
    each = [integral.finish() for integral in integrals]
    return each[0] if len(each) == 1 else mean_attribution(each)
