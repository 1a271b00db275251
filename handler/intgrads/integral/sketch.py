"""A short random stand-in for a gradient: norms of all that is linear in gradients, without the gradients.

The features are dealt out at random to a few hundred sums, each with a random sign. Such a sketch is linear, and keeps
the L2 norm of any vector to about 1 / sqrt(2 · :data:`DIMENSIONS`), four percent (Charikar, Chen, Farach-Colton, ICALP
2002; Weinberger et al., ICML 2009, call it feature hashing). The deal is the same for every request of a size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DIMENSIONS = 256
SEED = 0


@lru_cache(maxsize=8)
def _deal(features: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return an order of the features, (DIMENSIONS, ceil(features / DIMENSIONS)), and signs; 0 where there is none."""
    random = np.random.default_rng(SEED)
    length = -(-features // DIMENSIONS)
    order = np.zeros(DIMENSIONS * length, np.int64)
    signs = np.zeros(DIMENSIONS * length)
    # Spread over the sums, not the last sums left empty.
    places = np.sort(random.permutation(DIMENSIONS * length)[:features])
    order[places] = random.permutation(features)
    signs[places] = random.choice([-1.0, 1.0], features)
    shape = DIMENSIONS, length
    return torch.from_numpy(order.reshape(shape)).to(device), torch.from_numpy(signs.reshape(shape)).to(device)


def sketch(vectors: Tensor) -> NDArray[np.float64]:
    """Return sketches (T, m) of vectors (T, *shape), float64; the vectors themselves where they are no longer.

    A gather and a sum in a fixed order, not a scatter: GPUs add what is scattered in an order of their own, and equal
    requests shall get equal bytes.
    """
    flat = vectors.double().flatten(1)
    if flat.shape[1] > DIMENSIONS:
        order, signs = _deal(flat.shape[1], flat.device)
        flat = (flat[:, order] * signs).sum(-1)
    sketched: NDArray[np.float64] = flat.cpu().numpy()
    return sketched
