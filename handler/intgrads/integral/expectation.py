"""Several baselines of one input: the mean of their attributions, and how far they are apart.

Any baseline is a choice, and each one is blind to what it shares with the input: from black, black pixels get nothing.
The mean over a distribution of baselines depends on none of them alone (expected gradients: Erion, Janizek, Sturmfels,
Lundberg and Lee, Nature Machine Intelligence 2021, doi 10.1038/s42256-021-00343-w, equation 3; here each path is
integrated whole instead of being drawn a point of). It is complete: its sum is f(x) minus the mean of f(x').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intgrads.integral.attribution import Attribution
from intgrads.integral.convergence import allowed_error
from intgrads.integral.map_error import MapErrors, MeanErrors, no_less_than_missing


def mean_attribution(each: Sequence[Attribution]) -> Attribution:
    """Return the mean of attributions of the same targets of one input, from K baselines.

    Nodes and weights are those of all of them, the weights divided by K; gradients are not kept. `baseline_output` is
    (K, C). Errors are those of the mean: see :class:`intgrads.integral.map_error.MeanErrors`; `local_error` is the mean
    of theirs, which is no less than its own. `evaluations` are added up.

    Raises
    ------
    ValueError
        If there are none, or their targets differ.
    """
    if not each or any(one.targets != each[0].targets for one in each):
        raise ValueError("a mean is one of attributions of the same targets, and of at least one")
    first, count = each[0], len(each)
    total = torch.zeros(first.integrated_gradients.shape, dtype=torch.float64)
    for one in each:
        total += one.integrated_gradients
    mean = total / count
    flat = mean.flatten(1).numpy()
    errors = MeanErrors([one.errors for one in each if isinstance(one.errors, MapErrors)], np.linalg.norm(flat, axis=1))
    delta, difference, value, baseline_value, off = (
        np.mean([getattr(one, name) for one in each], axis=0)
        for name in ("convergence_delta", "difference", "value", "baseline_value", "local_error")
    )
    error = no_less_than_missing(errors.relative(), np.abs(flat).sum(1), delta, difference)
    return Attribution(
        targets=first.targets,
        integrated_gradients=mean.float(),
        gradients=None,
        alphas=np.concatenate([one.alphas for one in each]),
        step_sizes=np.concatenate([one.step_sizes for one in each]) / count,
        output=first.output,
        baseline_output=torch.stack([one.baseline_output for one in each]),
        value=value,
        baseline_value=baseline_value,
        difference=difference,
        convergence_delta=delta,
        local_error=off,
        attribution_error=error,
        attribution_error_map=_error_map(each),
        converged=(error <= first.tolerance) & (off <= allowed_error(difference, first.tolerance)),
        evaluations=sum(one.evaluations for one in each),
        errors=errors,
        tolerance=first.tolerance,
        each=tuple(each),
    )


def _error_map(each: Sequence[Attribution]) -> Tensor | None:
    """Return the error of each feature of the mean, where those of the single ones were asked for."""
    parts = []
    for one in each:
        known = one.errors.known_map if isinstance(one.errors, MapErrors) else None
        if one.attribution_error_map is None or known is None:
            return None
        signed = torch.from_numpy(known).double().view(one.attribution_error_map.shape)
        parts.append((signed, (one.attribution_error_map.double() ** 2 - signed**2).clamp(min=0)))
    signed, variance = (torch.stack(part).mean(0) for part in zip(*parts, strict=True))
    return (signed**2 + variance / len(parts)).sqrt().float()


def spread(attribution: Attribution, of: Callable[[Tensor], NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """Return how far the baselines are apart in sums of the integrated gradients, (T, Q); None of a single baseline.

    Their standard deviation over the K baselines, the root of the mean square distance from the mean.

    Parameters
    ----------
    attribution : Attribution
    of : callable
        From integrated gradients (T, *shape) to the sums, (T, Q).
    """
    if not attribution.each:
        return None
    sums = np.stack([of(one.integrated_gradients) for one in attribution.each])
    deviation: NDArray[np.float64] = sums.std(axis=0)
    return deviation
