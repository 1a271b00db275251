"""A short random stand-in for a gradient: norms of all that is linear in gradients, without the gradients.

Every 251st feature goes to one of 251 sums, each feature with a random sign. Such a sketch is linear, and keeps the L2
norm of a vector to about 1 / sqrt(2 · 251), four percent, as long as no few sums get all of it (feature hashing:
Weinberger et al., ICML 2009). The signs are the same for every request of a size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

DIMENSIONS = 251
"""A prime, so that what stands out in one place of each row, or token, is spread over all sums."""

SEED = 0


@lru_cache(maxsize=8)
def _signs(features: int, device: torch.device) -> Tensor:
    random = np.random.default_rng(SEED)
    return torch.from_numpy(random.choice([-1.0, 1.0], features)).to(device)


def sketch(vectors: Tensor) -> NDArray[np.float64]:
    """Return sketches (T, m) of vectors (T, *shape), float64; the vectors themselves where they are no longer.

    A sum in a fixed order, not a scatter: GPUs add what is scattered in an order of their own, and equal requests shall
    get equal bytes.
    """
    flat = vectors.double().flatten(1)
    if flat.shape[1] > DIMENSIONS:
        signed = pad(flat * _signs(flat.shape[1], flat.device), (0, -flat.shape[1] % DIMENSIONS))
        flat = signed.view(len(flat), -1, DIMENSIONS).sum(1)
    sketched: NDArray[np.float64] = flat.cpu().numpy()
    return sketched
