"""The integral along one path, fed one evaluated point at a time, and what comes of it: the attribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intgrads.integral.convergence import Samples, local_error
from intgrads.integral.drawing import draw
from intgrads.integral.functionals import Functional, Logit, OfTarget
from intgrads.integral.map_error import MapErrors, MeanErrors, map_norms, no_less_than_missing
from intgrads.integral.nodes import Nodes
from intgrads.integral.path import StraightPath
from intgrads.integral.profile import Profile
from intgrads.integral.quadrature import Rule
from intgrads.integral.sketch import sketch
from intgrads.integral.walk import ErrorModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sums = Callable[[Tensor], NDArray[np.float64]]
"""From something like x for each target, (T, *shape), to sums over groups of features, (T, Q)."""

HELD_BYTES, LEAST_HELD = 256 * 2**20, 32
"""Memory for gradients whose weights are not known yet, and how many of them may be held however large they are: with
fewer a refinement knows too little of the path to plan the rest of it."""

LEAST_CHANGE = 1e-12
"""A node whose weight changes by less is not computed again for it."""

FEATURES_AT_ONCE = 2**14
"""Features of which the error is computed in one piece."""


def most_held(size: int) -> int:
    """Return how many gradients of `size` numbers an integral holds at most, where it returns none of them."""
    return max(LEAST_HELD, HELD_BYTES // (4 * size))


@dataclass(frozen=True, repr=False)
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
    value, baseline_value : ndarray, (T,), float64
        f(x) and f(x'): the target's logit, or whatever of the logits was attributed.
    difference : ndarray, (T,), float64
        f(x) - f(x').
    convergence_delta : ndarray, (T,), float64
        Sum of IG minus the difference.
    local_error : ndarray, (T,), float64
        Sum over the eighths of the path of the absolute error made there; see :mod:`intgrads.integral.convergence`.
    attribution_error : ndarray, (T,), float64
        Estimated L2 norm of the error of the integrated gradients, over their own; see
        :mod:`intgrads.integral.map_error`.
    attribution_error_map : Tensor, (T, *shape), or None where it was not asked for
        Estimated error of each feature's integrated gradient, absolute.
    converged : ndarray, (T,), bool
        Whether the error of the map met the tolerance, and the local error that part of the difference. The tolerance
        of a fixed rule is 5 %.
    evaluations : int
        Points at which the network was computed, x and x' among them; of the rules without these nodes only its output
        is computed there, without a gradient.
    errors : MapErrors, or MeanErrors of a mean
        What else can be said of errors: those of sums over groups, and what a tolerance is likely to cost.
    tolerance : float
        By which `converged` was judged.
    each : tuple of Attribution
        Where this is the mean over several baselines, those of the single ones; else empty. See
        :mod:`intgrads.integral.expectation`.
    profile : Profile, or None where it was not asked for
        What happens along the path.
    """

    targets: tuple[int, ...]
    integrated_gradients: Tensor
    gradients: Tensor | None
    alphas: NDArray[np.float64]
    step_sizes: NDArray[np.float64]
    output: Tensor
    baseline_output: Tensor
    value: NDArray[np.float64]
    baseline_value: NDArray[np.float64]
    difference: NDArray[np.float64]
    convergence_delta: NDArray[np.float64]
    local_error: NDArray[np.float64]
    attribution_error: NDArray[np.float64]
    attribution_error_map: Tensor | None
    converged: NDArray[np.bool_]
    evaluations: int
    errors: MapErrors | MeanErrors
    tolerance: float
    each: tuple[Attribution, ...] = ()
    profile: Profile | None = None

    def __repr__(self) -> str:
        """Return the figures in one line."""
        told = (
            f"target {target}: f(x) − f(x′) {difference:.4g}, error of the map {error:.2g}"
            for target, difference, error in zip(self.targets, self.difference, self.attribution_error, strict=True)
        )
        shape = tuple(self.integrated_gradients.shape[1:])
        return f"<Attribution of {shape}, {self.evaluations} evaluations; {'; '.join(told)}>"

    def plot(self, names: Sequence[str] | None = None) -> Figure:
        """Draw it by matplotlib: blue raised the output, red lowered it.

        Parameters
        ----------
        names : sequence of str, optional
            Of features or tokens; by default their places.

        Returns
        -------
        matplotlib.figure.Figure
            A panel for each target. Of a picture (C, H, W) or a plane (H, W) a map, summed over channels; of tokens
            (L, D) bars, summed over their embedding, where their `names` are given; of features (N,) bars.

        Raises
        ------
        ValueError
            If the features lie in any other way.
        """
        values = self.integrated_gradients.double().numpy()
        if values.ndim == 4:
            values = values.sum(1)
        elif values.ndim == 3 and names is not None:
            values = values.sum(2)
        return draw(values, [f"target {target}" for target in self.targets], names)


class PathIntegral:
    """The integral along one path, fed one evaluated point at a time.

    Parameters
    ----------
    path : StraightPath
    nodes : Nodes
        A fixed rule, or a refinement that chooses its nodes as it goes.
    keep_gradients : bool, default True
        Whether the gradient at each node is part of the answer. If not, those whose weights are known are added up and
        forgotten, and memory does not depend on the number of nodes: a refinement holds :func:`most_held` of them.
    error_map : bool, default False
        Whether the error of each feature is. All gradients are held for it.
    sums : callable, optional
        Sums over features of which the errors will be asked for.
    profile : callable, optional
        Sums over features that are told of each node.
    of : callable, default Logit
        What of each target is attributed; see :mod:`intgrads.integral.functionals`.
    follows : PathIntegral, optional
        Another one of the same x, integrated before or beside this one: a target that is left open is what it finds.
    """

    def __init__(
        self,
        path: StraightPath,
        nodes: Nodes,
        keep_gradients: bool = True,
        *,
        error_map: bool = False,
        sums: Sums | None = None,
        profile: Sums | None = None,
        of: OfTarget = Logit,
        follows: PathIntegral | None = None,
    ) -> None:
        self.path = path
        self.nodes = nodes
        self.targets = path.targets
        self._of = of
        self._follows = follows
        self.complete = False
        self._keep = keep_gradients
        self._error_map = error_map
        self._sum_up = sums
        self._sum_up_profile = profile
        self._weights: Mapping[float, float] | None = None
        self._without_gradient: set[float] = set()
        self._evaluations = 0
        self._logits: dict[float, Tensor] = {}
        self._f: dict[float, NDArray[np.float64]] = {}
        self._slopes: dict[float, NDArray[np.float64]] = {}
        self._sketches: dict[float, NDArray[np.float64]] = {}
        self._sums: dict[float, NDArray[np.float32]] = {}
        self._of_profile: dict[float, NDArray[np.float32]] = {}
        self._held: dict[float, Tensor] = {}
        self._total: Tensor | None = None
        self._in_total: dict[float, float] = {}

    @property
    def cost(self) -> int:
        """Gradients to compute at least."""
        return len(self.nodes.start()) * len(self.targets or (0,))

    @property
    def evaluations(self) -> int:
        """Points that were computed so far."""
        return self._evaluations

    def next_alphas(self) -> list[float]:
        """Return the points to evaluate next, given all that were asked for before; none when complete.

        x comes first of all, since it tells the predicted class, then x'.
        """
        if not self._logits:
            start = self.nodes.start(self._room())
            self._weights = self.nodes.known_weights
            self._without_gradient = {0.0, 1.0}.difference(start)
            return [1.0, 0.0] + [alpha for alpha in start if 0 < alpha < 1]
        # A network that overflows gives infinities; telling so is up to who asked.
        with np.errstate(all="ignore"):
            alphas = self.nodes.more(self._samples(), self.nodes.most - self._evaluations, self._room())
        self._weights = self.nodes.known_weights
        if alphas and self._weights is not None and not self._all_held:
            for alpha in list(self._held):
                self._add(alpha, self._held.pop(alpha))
            changed = [a for a, weight in self._in_total.items() if abs(self._weights[a] - weight) > LEAST_CHANGE]
            alphas = sorted([*alphas, *changed])
        self.complete = not alphas
        return alphas

    @property
    def _all_held(self) -> bool:
        return self._keep or self._error_map

    def _room(self) -> int | None:
        """Return how many gradients can still be held; None for any number."""
        if self._all_held:
            return None
        return most_held(len(self.targets or (0,)) * self.path.input.numel()) - len(self._held)

    @property
    def functionals(self) -> tuple[Functional, ...]:
        """What is attributed, one for each target; raises ValueError while these are open."""
        return tuple(self._of(target) for target in self._settled())

    def needs_gradient(self, alpha: float) -> bool:
        """Whether at a point that was asked for the gradient is needed; at the others the output is enough."""
        return alpha not in self._without_gradient

    def add_output(self, alpha: float, logits: Tensor) -> None:
        """Take the logits (C,) at a point; those at x settle a target that the caller left open.

        Raises
        ------
        ValueError
            If a target is none of them, or they are no logits of classes.
        """
        if logits.dim() != 1:
            raise ValueError(f"the network must give logits (B, C), got {tuple(logits.shape)} for one row")
        if self.targets is None and self._follows is not None:
            # Not its own: x in another batch is rounded otherwise, and of two equal classes the other may come out.
            self.targets = self._follows.targets
        if self.targets is None:
            # Of equal ones the first, as answers list them.
            self.targets = (int(logits.argsort(descending=True, stable=True)[0]),)
        named = [index for functional in self.functionals for index in functional.indices]
        if not all(0 <= index < len(logits) for index in named):
            raise ValueError(f"the targets are outputs 0 to {len(logits) - 1} of the network, got {named}")
        # A copy: what is sent of a row would hold its whole batch, and so the outputs of other callers.
        self._logits[alpha] = logits.clone()
        self._evaluations += 1

    def add_gradient(self, alpha: float, gradient: Tensor) -> None:
        """Take the gradients (T, *shape) at a point whose output has been added."""
        if alpha not in self._slopes:
            along = gradient.double() * self.path.step
            self._slopes[alpha] = along.flatten(1).sum(1).cpu().numpy()
            self._sketches[alpha] = sketch(along)
            if self._sum_up is not None:
                self._sums[alpha] = self._sum_up(along).astype(np.float32)
            if self._sum_up_profile is not None:
                self._of_profile[alpha] = self._sum_up_profile(along).astype(np.float32)
        is_node = self._weights is None or alpha in self._weights
        if self._weights is None or (self._keep and is_node) or self._error_map:
            self._held[alpha] = gradient.float().cpu()
        if self._weights is not None and is_node:
            self._add(alpha, gradient)

    def _add(self, alpha: float, gradient: Tensor) -> None:
        """Add a gradient to the integral by its weight, or by what that has changed by."""
        weight = (self._weights or {})[alpha]
        share = (weight - self._in_total.get(alpha, 0.0)) * gradient.double().to(self.path.step.device)
        self._total = share if self._total is None else self._total + share
        self._in_total[alpha] = weight

    def _samples(self) -> Samples:
        alphas = sorted(self._slopes)
        return Samples(
            np.array(alphas),
            np.stack([self._values(alpha) for alpha in sorted(self._logits)]),
            np.stack([self._slopes[alpha] for alpha in alphas]),
            np.stack([self._sketches[alpha] for alpha in alphas]),
        )

    def _values(self, alpha: float) -> NDArray[np.float64]:
        """Return f at a point for each target, (T,); computed once, when first asked for."""
        if alpha not in self._f:
            logits = self._logits[alpha].double()[None]
            self._f[alpha] = torch.cat([functional.of(logits) for functional in self.functionals]).cpu().numpy()
        return self._f[alpha]

    def _settled(self) -> tuple[int, ...]:
        if self.targets is None:
            raise ValueError("nothing is known at x yet, and so no target")
        return self.targets

    @np.errstate(all="ignore")
    def finish(self) -> Attribution:
        """Return the attribution of a complete integral, once: what it held of gradients is let go."""
        targets, samples = self._settled(), self._samples()
        rule, models = self.nodes.rule(samples), self.nodes.models(samples)
        total = self._total
        if total is None:
            weighted = (w * self._held[a].double() for a, w in zip(rule.alphas, rule.weights, strict=True))
            total = sum(weighted, torch.zeros(1))
        integrated = total * self.path.step.to(total.device)
        delta = integrated.flatten(1).sum(1).cpu().numpy() - samples.difference
        sums = np.stack([self._sums[alpha] for alpha in samples.alphas.tolist()]) if self._sums else None
        error_map, known = self._map_of_errors(models, samples.alphas) if self._error_map else (None, None)
        errors = MapErrors(models, samples, map_norms(rule, samples), sums, known)
        absolute = integrated.abs().flatten(1).sum(1).cpu().numpy()
        error = no_less_than_missing(errors.relative(), absolute, delta, samples.difference)
        off = local_error(samples)
        tolerance = self.nodes.tolerance
        gradients = self._kept(rule) if self._keep else None
        self._held.clear()
        self._total = None
        return Attribution(
            targets=targets,
            integrated_gradients=integrated.float().cpu(),
            gradients=gradients,
            alphas=rule.alphas,
            step_sizes=rule.weights,
            output=self._logits[1.0].float().cpu(),
            baseline_output=self._logits[0.0].float().cpu(),
            value=self._values(1.0),
            baseline_value=self._values(0.0),
            difference=samples.difference,
            convergence_delta=delta,
            local_error=off,
            attribution_error=error,
            attribution_error_map=error_map,
            converged=(error <= tolerance) & (off <= samples.allowed(tolerance)),
            evaluations=self._evaluations,
            errors=errors,
            tolerance=tolerance,
            profile=self._profile(rule) if self._of_profile else None,
        )

    def _profile(self, rule: Rule) -> Profile:
        computed = sorted(self._logits)
        return Profile(
            computed=np.array(computed),
            values=np.stack([self._values(alpha) for alpha in computed], axis=1),
            alphas=rule.alphas,
            step_sizes=rule.weights,
            along=np.stack([self._of_profile[alpha] for alpha in rule.alphas.tolist()], axis=1),
        )

    def _kept(self, rule: Rule) -> Tensor:
        # One after the other, so that what is returned is not held twice.
        gradients = torch.empty(len(self._settled()), len(rule), *self.path.input.shape)
        for k, alpha in enumerate(rule.alphas.tolist()):
            gradients[:, k] = self._held.pop(alpha)
        return gradients

    def _map_of_errors(
        self, models: list[ErrorModel], alphas: NDArray[np.float64]
    ) -> tuple[Tensor, NDArray[np.float32]]:
        """Return the error of each feature's integral, (T, *shape), and what of it is known, (T, features)."""
        step = self.path.step.cpu().flatten().numpy()
        errors, known = np.empty((2, len(models), step.size), np.float32)
        gradients = [self._held[alpha].flatten(1) for alpha in alphas.tolist()]
        for t, model in enumerate(models):
            for first in range(0, step.size, FEATURES_AT_ONCE):
                some = slice(first, first + FEATURES_AT_ONCE)
                along = np.stack([gradient[t, some].double().numpy() for gradient in gradients]) * step[some]
                exact, variance = model.parts(along)
                known[t, some] = exact
                errors[t, some] = np.sqrt(exact**2 + variance)
        return torch.from_numpy(errors).reshape(len(models), *self.path.input.shape), known
