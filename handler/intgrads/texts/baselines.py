"""Baselines of texts: the embeddings x' at which an integration path starts.

A baseline stands for the absence of what is asked about. These are those of the earlier text server's documents.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

TokenBaseline = Literal["pad", "unk", "mask", "period"]
"""Baselines of one token's word at every place, special ones included, as it leaves the embedding layer there.

Positions, segments and masks are the text's own.
"""
TOKEN_BASELINES: tuple[str, ...] = get_args(TokenBaseline)

DrawnBaseline = Literal["zero", "rand-norm", "rand-unif"]
"""Baselines that stand in place of what leaves the embedding layer, at every place."""

TextBaseline = Literal[TokenBaseline, DrawnBaseline]
TEXT_BASELINES: tuple[str, ...] = get_args(TextBaseline)

RANDOM: tuple[DrawnBaseline, ...] = ("rand-norm", "rand-unif")
UNIFORM: DrawnBaseline = "rand-unif"


def drawn_baseline(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return a baseline of embeddings that no token has.

    Parameters
    ----------
    name : str
        ``zero``: zeros. ``rand-norm``: normal, mean 0 and standard deviation 1. ``rand-unif``: uniform in 0 … 1.
    shape : tuple of int
        (L, D).
    seed : int, default 0
        Seed of the random ones, at least 0.

    Returns
    -------
    Tensor, (L, D), float32, on the CPU

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == "zero":
        return torch.zeros(shape)
    if name == "rand-norm":
        return torch.randn(shape, generator=generator)
    if name == "rand-unif":
        return torch.rand(shape, generator=generator)
    raise ValueError(f"unknown baseline {name!r}; choose one of {', '.join(get_args(DrawnBaseline))}")
