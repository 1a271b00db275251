"""Where a text enters a network: finding the embedding layer, and running the network from what leaves it.

A text is integrated over vectors, not over tokens: over what leaves the whole embedding layer (in BERT words, positions
and segments after their normalisation), or the table of words where nothing is around it (XLNet, whose positions enter
in each layer). The network's own forward runs untouched; a hook puts the point of the path in the layer's place. Any
network of transformers that gives its table of words (``get_input_embeddings``) can be looked at that way, and what is
found is checked against the network's own output before it is used.

A baseline of one token everywhere differs from the text in its words alone. Many networks take more from the indices
than words: RoBERTa's positions leave pads out, XLM counts a text's length, ESM scales by the masked ones. The text's
own indices therefore stay, and the token's vector is put in where it leaves the table of words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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


class _Seen(Exception):  # noqa: N818 - it is no error
    """Ends a pass whose embeddings were taken."""


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
        own = laid_out.to(next(self.network.parameters()).dtype, copy=True)  # CTRL scales it in place
        with _hooked(self._layer, lambda *_: own):
            return self._logits(len(points)).to(points.dtype)

    @torch.no_grad()
    def embed(self, token: int | Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Return what leaves the embedding layer, (L, D).

        Parameters
        ----------
        token : int or Tensor, (L,), optional
            Its word, or those of these tokens, stand for the text's own; positions, segments and all else stay the
            text's.
        places : Tensor, (L,), bool, optional
            Where it does, if not everywhere.
        """
        seen: list[Tensor] = []

        def take(*call: Any) -> None:
            seen.append(call[-1].clone())
            raise _Seen

        with ExitStack() as hooks:
            if token is not None:
                # First: where the table is the layer, the next hook sees what this one put in.
                hooks.enter_context(_hooked(table_of_words(self.network), _puts_in(token, places)))
            hooks.enter_context(_hooked(self._layer, take))
            with suppress(_Seen):  # the layers behind it have nothing to add, and are most of the network
                self._logits(1)
        return seen[0][:, 0] if self.layer.tokens_first else seen[0][0]

    @property
    def _layer(self) -> nn.Module:
        return self.network.get_submodule(self.layer.name)

    def _logits(self, rows: int) -> Tensor:
        logits: Tensor = self.network(**{name: value.expand(rows, -1) for name, value in self.inputs.items()}).logits
        return logits


def _puts_in(token: int | Tensor, places: Tensor | None) -> Callable[..., Any]:
    """Return a hook upon the table of words that puts in what it gives for one token, or for others than the text's."""

    def hook(table: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], _output: Any) -> Any:
        ids: Tensor = (*arguments, *named.values())[0]
        new = token.view_as(ids) if isinstance(token, Tensor) else torch.full_like(ids, token)
        # Its own forward, which may scale what it holds (Gemma), and which no hook is upon.
        return table.forward(new if places is None else torch.where(places.view_as(ids), new, ids))

    return hook


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Call a hook with the module, its arguments, those by name and its output; its result, if any, replaces that."""
    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def table_of_words(network: nn.Module) -> nn.Module:
    """Return the module that turns token indices into words' vectors.

    Raises
    ------
    ValueError
        If the network names none.
    """
    try:
        table: nn.Module = network.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        table = nn.Identity()
    if not any(module is table for module in network.modules()):
        raise ValueError("it names no table of words")
    return table


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
    table = table_of_words(network)
    parts = next(name for name, module in network.named_modules() if module is table).split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    text = inputs["input_ids"]
    changed = text.clone()
    # By another word if there is one: a special token may be where a network reads its answer.
    changed[1] = text[2] if text[2] != text[1] else text[0]
    seen: dict[str, list[Any]] = {name: [] for name in names}
    with ExitStack() as hooks, torch.no_grad():
        for name in names:
            module = network.get_submodule(name)
            hooks.enter_context(_hooked(module, lambda *call, name=name: seen[name].append(call[-1])))
        both = {name: torch.stack([value, value]) for name, value in inputs.items()}
        logits = network(**{**both, "input_ids": torch.stack([text, changed])}).logits
    if not torch.isfinite(logits).all():
        raise ValueError("its outputs are not finite numbers; look for weights that are not, or that are far too large")
    for name in names:
        layer = _as_layer(name, seen[name], text.ne(changed))
        if layer is not None:
            _check(network, layer, inputs, changed)
            return layer
    raise ValueError("nothing around its table of words hands on one vector a token, once a pass")


def check_words_alone(
    network: nn.Module, layer: EmbeddingLayer, inputs: dict[str, Tensor], tokens: Mapping[str, int]
) -> None:
    """Check that a baseline of one token everywhere differs from a text in its words alone.

    Parameters
    ----------
    network : nn.Module
    layer : EmbeddingLayer
        As :func:`find_embedding_layer` found it.
    inputs : dict of str to Tensor, (L,)
    tokens : mapping of str to int
        Index of each baseline's token.

    Raises
    ------
    ValueError
        If something else within the layer hands out other values, a word changes more than its own place, a place that
        has the token already changes, or nothing does.
    """
    text = inputs["input_ids"]
    every_other = torch.arange(len(text), device=text.device) % 2 == 1
    forward = FromEmbeddings(network, layer, inputs)
    x, others = _embed_and_others(forward, None)
    for name, token in tokens.items():
        more = f"from the text to the baseline {name!r} more than its words would change: "
        baseline, others_then = _embed_and_others(forward, token)
        if torch.equal(baseline, x):
            raise ValueError("its words come from elsewhere than from the table of words that it names")
        changed = _first_other(others, others_then)
        if changed is not None:
            raise ValueError(f"{more}its {changed} hands out other values")
        mixed = forward.embed(token, every_other)
        if not _equal(mixed, torch.where(every_other[:, None], baseline, x)):
            raise ValueError(f"{more}a word changes what leaves its {layer.name} at other places")
        there = FromEmbeddings(network, layer, {**inputs, "input_ids": text.masked_fill(every_other, token)})
        if not _equal(there.embed()[every_other], there.embed(token)[every_other]):
            raise ValueError(f"{more}its {layer.name} changes where that token stands already")


def read_as_words(
    network: nn.Module, layer: EmbeddingLayer, inputs: dict[str, Tensor], tokens: Mapping[str, int]
) -> dict[str, int]:
    """Return those of the baselines' tokens that a network reads as words; see :func:`check_words_alone`.

    ESM takes zeros for a masked word, whatever its table holds: there is no such word to start from. That a pad has
    another position in RoBERTa is another matter; its word is read.
    """
    text = inputs["input_ids"]
    every_other = torch.arange(len(text), device=text.device) % 2 == 1
    forward = FromEmbeddings(network, layer, inputs)
    others = _embed_and_others(forward, None)[1]
    words = {}
    for name, token in tokens.items():
        there = FromEmbeddings(network, layer, {**inputs, "input_ids": text.masked_fill(every_other, token)})
        found, others_there = _embed_and_others(there, None)
        same = _equal(found[every_other], forward.embed(token, every_other)[every_other])
        if same or _first_other(others, others_there) is not None:
            words[name] = token
    return words


def _first_other(one: dict[str, list[Tensor]], other: dict[str, list[Tensor]]) -> str | None:
    """Return the name of the first module that handed out other values, if any."""
    for name, values in one.items():
        then = other.get(name, [])
        if len(values) != len(then) or not all(map(torch.equal, values, then)):
            return name
    return None


def _equal(one: Tensor, other: Tensor) -> bool:
    # Rows of equal products may be rounded differently.
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def _embed_and_others(forward: FromEmbeddings, token: int | None) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """Return what leaves the layer, and until then every module that reads no vectors and has no words within."""
    network = forward.network
    table, layer = table_of_words(network), network.get_submodule(forward.layer.name)
    seen: dict[str, list[Tensor]] = {}
    done: list[bool] = []
    with ExitStack() as hooks:
        hooks.enter_context(_hooked(layer, lambda *_: done.append(True)))
        for name, module in network.named_modules():
            if any(part is table for part in module.modules()):
                continue

            def note(
                _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any, name: str = name
            ) -> None:
                read = (*arguments, *named.values())
                vectors = any(isinstance(value, Tensor) and value.is_floating_point() for value in read)
                if not done and not vectors and isinstance(output, Tensor):
                    seen.setdefault(name, []).append(output.clone())

            hooks.enter_context(_hooked(module, note))
        return forward.embed(token), seen


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


def _check(network: nn.Module, layer: EmbeddingLayer, inputs: dict[str, Tensor], changed: Tensor) -> None:
    forward = FromEmbeddings(network, layer, inputs)
    other = FromEmbeddings(network, layer, {**inputs, "input_ids": changed})
    with torch.no_grad():
        expected, of_other = (one._logits(1) for one in (forward, other))
        found = forward(other.embed()[None])
    points = forward.embed()[None].requires_grad_()
    logits = forward(points)
    if logits.ndim != 2 or not torch.allclose(logits, expected, rtol=1e-5, atol=1e-6):
        raise ValueError(f"run from what leaves its {layer.name} it does not give its own logits")
    if not torch.allclose(found, of_other, rtol=1e-5, atol=1e-6):
        raise ValueError(f"its words enter it in another way too than by its {layer.name}")
    gradient = torch.autograd.grad(logits[:, 0].sum(), points, allow_unused=True)[0] if logits.requires_grad else None
    if gradient is None or not torch.isfinite(gradient).all():
        raise ValueError(f"it has no gradient at what leaves its {layer.name}")
