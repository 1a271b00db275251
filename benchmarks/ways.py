"""The ways to attribute that are compared: ours, our integral of the plain network, Captum's, and the earlier servers'.

- *ours*: the integral of the network as a worker prepares it, its convergence delta and local error, and every step's
  gradient, the batches bounded as a worker's are;
- *plain*: the same of the network as it came;
- *Captum*: its IntegratedGradients, parameters frozen, all steps at once or ten rows a batch. Of a text
  LayerIntegratedGradients at the embeddings and IntegratedGradients of ``inputs_embeds`` are tried; the faster counts;
- *earlier*: Captum's integral with parameters that want gradients, and a second pass for the gradients of the steps,
  as the two servers before this one computed. Their BiT was its authors' code, which standardises the weights of each
  convolution with several operators at every pass; timm's network is made to do so.

Captum takes two more forward passes for the delta. The earlier servers did without, and so does that way here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from intgrads import integrated_gradients, quadrature
from intgrads.settings import Settings
from intgrads.speed.devices import RowMemory, chunk_rows, memory_of_a_row
from intgrads.speed.preparation import prepare, prepare_linear
from intgrads.texts.embeddings import FromEmbeddings, table_of_words
from networks import Case, from_embeddings
from timing import Action, seconds
from timm.layers import StdConv2d
from torch import Tensor, nn

Way = Callable[[Case, torch.device], Action]
"""Makes ready what loading a model makes ready, and returns what is done for a request."""


def ready(case: Case, device: torch.device, prepared: bool) -> tuple[nn.Module, Tensor]:
    """Return a network that takes what is integrated over, prepared or as it came, and such an input."""
    network, x = case.network().requires_grad_(False), case.input()
    if case.text:
        network = prepare_linear(network, device) if prepared else network.to(device)
        forward = from_embeddings(network, x.to(device))
        return forward, forward.embed()[None]
    network = prepare(network, tuple(x.shape[1:]), device) if prepared else network.to(device)
    return network, x.to(device)


@lru_cache(maxsize=1)
def as_it_came(case: Case, device: torch.device) -> tuple[nn.Module, Tensor]:
    """Return :func:`ready` of a plain network; one for all ways that leave it as it is."""
    return ready(case, device, prepared=False)


class _Twice(nn.Module):
    """A network on each of its rows twice."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.module(torch.cat([x, x]))
        return result


def rows_at_once(module: nn.Module, x: Tensor) -> int:
    """Return how many points a worker would compute at once.

    By what a second row keeps: a plain network also keeps weights that it makes anew at each pass.
    """
    shape = tuple(x.shape[1:])
    row = memory_of_a_row(module, shape, x.device)
    both = memory_of_a_row(_Twice(module), shape, x.device)
    saved, largest = both.saved - row.saved, both.largest - row.largest
    if not 0 < saved < row.saved:
        saved, largest = row.saved, row.largest
    return chunk_rows(Settings().memory_budget_mb, RowMemory(saved, max(largest, x.nbytes)), x.device)


def ours(case: Case, device: torch.device, prepared: bool = True) -> Action:
    """Prepare as a worker does when it loads; return what it does for a request."""
    module, x = ready(case, device, prepared) if prepared else as_it_came(case, device)
    rows = rows_at_once(module, x)
    return lambda: integrated_gradients(module, x, target=0, n_steps=case.steps, chunk_rows=rows)


def plain(case: Case, device: torch.device) -> Action:
    """Return our integral of the network as it came."""
    return ours(case, device, prepared=False)


def captum(case: Case, device: torch.device, delta: bool = True, batch: int | None = None) -> Action:
    """Return Captum's integral."""
    if not case.text:
        module, x = as_it_came(case, device)
        return _captum(IntegratedGradients(module), x, 0 * x, steps=case.steps, delta=delta, batch=batch)
    forward, tokens = as_it_came(case, device)[0], case.input().to(device)[None]
    assert isinstance(forward, FromEmbeddings)
    network = forward.network
    table = table_of_words(network)
    how: dict[str, Any] = {"steps": case.steps, "delta": delta, "batch": batch}
    ways = [_captum(_of_vectors(network), table(tokens), table(0 * tokens), **how)]
    if not forward.layer.tokens_first:  # LayerIntegratedGradients takes XLNet's tokens, which come first, for inputs
        ways.append(_captum(_of_layer(network, table), tokens, 0 * tokens, **how))
    taken = []
    for way in ways:
        way()
        taken.append(min(seconds(way, device) for _ in range(2)))
    return ways[taken.index(min(taken))]


def _of_layer(network: nn.Module, table: nn.Module) -> LayerIntegratedGradients:
    return LayerIntegratedGradients(lambda ids: network(input_ids=ids).logits, table)


def _of_vectors(network: nn.Module) -> IntegratedGradients:
    return IntegratedGradients(lambda vectors: network(inputs_embeds=vectors).logits)


def _captum(
    method: IntegratedGradients | LayerIntegratedGradients,
    x: Tensor,
    baseline: Tensor,
    *,
    steps: int,
    delta: bool,
    batch: int | None,
) -> Action:
    return lambda: method.attribute(
        x, baseline, target=0, n_steps=steps, return_convergence_delta=delta, internal_batch_size=batch
    )


def captum_without_delta(case: Case, device: torch.device) -> Action:
    """Return Captum's integral alone."""
    return captum(case, device, delta=False)


def captum_ten_rows(case: Case, device: torch.device) -> Action:
    """Return Captum's integral and delta, ten rows a batch."""
    return captum(case, device, batch=10)


def earlier(case: Case, device: torch.device) -> Action:
    """Do as the earlier servers did, in evaluation mode for the sake of the numbers."""
    module, x = ready(case, device, prepared=False)
    module.requires_grad_(True)
    for layer in module.modules():
        if isinstance(layer, StdConv2d):
            layer.__class__ = _Standardised
    method = IntegratedGradients(module)
    alphas = torch.tensor(quadrature("gausslegendre", case.steps).alphas, dtype=x.dtype, device=device)
    alphas = alphas.view(-1, *[1] * (x.dim() - 1))

    def run() -> object:
        attributions = method.attribute(x, 0 * x, target=0, n_steps=case.steps)
        points = (alphas * x).requires_grad_()
        return attributions, torch.autograd.grad(module(points)[:, 0].sum(), points)

    return run


class _Standardised(StdConv2d):  # type: ignore[misc]
    """A convolution whose weights are standardised (arXiv 1903.10520) as in the code of BiT's authors."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        result: Tensor = self._conv_forward(x, (self.weight - mean) / torch.sqrt(variance + 1e-10), self.bias)
        return result
