"""Where a text enters a network: finding the embedding layer, and running the network from what leaves it.

A text is integrated over vectors, not over tokens: over what leaves the whole embedding layer (in BERT words, positions
and segments after their normalisation), or the table of words where nothing is around it (XLNet, whose positions enter
in each layer). The network's own forward runs untouched; a hook puts the point of the path in the layer's place. Any
network of transformers that gives its table of words (``get_input_embeddings``) can be looked at that way, and what is
found is checked against the network's own output before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class EmbeddingLayer:
    """The layer that a text enters by.

    Attributes
    ----------
    name : str
        Of the submodule.
    width : int
        Numbers a token, D.
    tokens_first : bool
        Whether the network lays it out (L, B, D) instead of (B, L, D).
    """

    name: str
    width: int
    tokens_first: bool = False


class FromEmbeddings(nn.Module):
    """A network that takes one text's embeddings: (B, L, D) to logits (B, C).

    Parameters
    ----------
    network : nn.Module
        Takes ``input_ids`` and perhaps ``token_type_ids``, (B, L); gives an object with ``logits``.
    layer : EmbeddingLayer
    inputs : dict of str to Tensor, (L,)
        The text's own token indices and the like; they decide nothing but what is not an embedding, such as the place
        that a network reads its answer from.
    """

    def __init__(self, network: nn.Module, layer: EmbeddingLayer, inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.network, self.layer, self.inputs = network, layer, inputs

    def forward(self, points: Tensor) -> Tensor:
        """Return the logits of points between embeddings, in the points' type whatever the network's is."""
        laid_out = points.transpose(0, 1) if self.layer.tokens_first else points
        own = laid_out.to(next(self.network.parameters()).dtype)
        with self._hooked(lambda *_: own):
            return self._logits(self.inputs, len(points)).to(points.dtype)

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Return what leaves the embedding layer for some token indices (L,) at this text's places, (L, D)."""
        seen: list[Tensor] = []
        with self._hooked(lambda _module, _arguments, output: seen.append(output)):
            self._logits({**self.inputs, "input_ids": ids}, 1)
        return seen[0][:, 0] if self.layer.tokens_first else seen[0][0]

    def _logits(self, inputs: dict[str, Tensor], rows: int) -> Tensor:
        logits: Tensor = self.network(**{name: value.expand(rows, -1) for name, value in inputs.items()}).logits
        return logits

    @contextmanager
    def _hooked(self, hook: Any) -> Iterator[None]:
        handle = self.network.get_submodule(self.layer.name).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


def find_embedding_layer(network: nn.Module, inputs: dict[str, Tensor]) -> EmbeddingLayer:
    """Find the layer that a network's texts enter by.

    It is the outermost module around the table of words that hands on one vector a token, made of that token alone.

    Parameters
    ----------
    network : nn.Module
        A sequence classifier of transformers, in evaluation mode.
    inputs : dict of str to Tensor, (L,)
        A text of at least two different tokens.

    Raises
    ------
    ValueError
        If there is no such layer, or running from it does not give the network's own logits.
    """
    try:
        table = network.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        table = None
    path = next((name for name, module in network.named_modules() if module is table), None)
    if path is None:
        raise ValueError("it names no table of words")
    parts = path.split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    text = inputs["input_ids"]
    changed = text.clone()
    changed[1] = text[0] if text[0] != text[1] else text[2]
    seen: dict[str, list[Any]] = {name: [] for name in names}
    handles = [
        network.get_submodule(name).register_forward_hook(lambda _m, _a, output, name=name: seen[name].append(output))
        for name in names
    ]
    try:
        with torch.no_grad():
            both = {name: torch.stack([value, value]) for name, value in inputs.items()}
            network(**{**both, "input_ids": torch.stack([text, changed])})
    finally:
        for handle in handles:
            handle.remove()
    for name in names:
        layer = _as_layer(name, seen[name], text.ne(changed))
        if layer is not None:
            _check(network, layer, inputs)
            return layer
    raise ValueError("nothing around its table of words hands on one vector a token, once a pass")


def _as_layer(name: str, outputs: list[Any], changed: Tensor) -> EmbeddingLayer | None:
    if len(outputs) != 1 or not isinstance(outputs[0], Tensor) or outputs[0].ndim != 3:
        return None
    output = outputs[0]
    length = len(changed)
    if output.shape[:2] not in ((2, length), (length, 2)):
        return None
    tokens_first = bool(output.shape[0] == length)
    one, other = output.unbind(1 if tokens_first else 0)
    if not torch.equal((one != other).any(-1), changed):
        return None
    return EmbeddingLayer(name, output.shape[-1], tokens_first)


def _check(network: nn.Module, layer: EmbeddingLayer, inputs: dict[str, Tensor]) -> None:
    forward = FromEmbeddings(network, layer, inputs)
    with torch.no_grad():
        expected = network(**{name: value[None] for name, value in inputs.items()}).logits
    points = forward.embed(inputs["input_ids"])[None].requires_grad_()
    logits = forward(points)
    if logits.ndim != 2 or not torch.allclose(logits, expected, rtol=1e-5, atol=1e-6):
        raise ValueError(f"run from what leaves its {layer.name} it does not give its own logits")
    gradient = torch.autograd.grad(logits[:, 0].sum(), points, allow_unused=True)[0] if logits.requires_grad else None
    if gradient is None or not torch.isfinite(gradient).all():
        raise ValueError(f"it has no gradient at what leaves its {layer.name}")
