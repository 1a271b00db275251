#!/usr/bin/env python3
"""Train a small BiT on digits, to show what a baseline of zeros does to it: ``python training/bit_digits.py``.

The network is that of ``networks/bit.py`` with three bottlenecks of 128 channels; its pictures are the 1,797 digits of
8 × 8 (Alpaydin and Kaynak, UCI 1998), enlarged to 32 × 32 and grey in RGB. A fifth is held out. The script writes
``bit_digits.safetensors`` beside itself, in half precision and under the authors' names, and prints how many of the
digits held out that file gets right. One thread, half a minute; ``tests/integral/test_zero_baseline.py`` uses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from intgrads.networks.bit import BiT, pth_name
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("bit_digits.safetensors")

ARCHITECTURE = {"units": [1, 2], "width": 1, "stem_channels": 32, "channels": [128, 128], "num_classes": 10}

EPOCHS, BATCH, RATE = 12, 64, 2e-3


def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return pictures (n, 32, 32, 3) to train on and held out, and their classes."""
    data = load_digits()
    small = np.round(data.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(digit).resize((32, 32), Image.Resampling.BILINEAR)) for digit in small]
    pictures = np.repeat(np.stack(large)[..., None], 3, axis=3)
    split = train_test_split(pictures, data.target, test_size=0.2, random_state=0, stratify=data.target)
    return split[0], split[1], split[2], split[3]


def normalised(pictures: NDArray[Any]) -> Tensor:
    """Return what the network takes, (n, 3, 32, 32)."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the part that the network gets right."""
    with torch.no_grad():
        return float((network.eval()(x).argmax(1) == y).float().mean())


def main() -> None:
    """Train, write and report."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train, held_out, train_classes, held_out_classes = digits()
    x, y = normalised(train), torch.from_numpy(train_classes)
    network = BiT().build(ARCHITECTURE)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        network.train()
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            loss = functional.cross_entropy(network(x[rows]), y[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    save_file({pth_name(name): tensor for name, tensor in weights.items()}, WEIGHTS)
    network.load_state_dict(weights)
    right = accuracy(network, normalised(held_out), torch.from_numpy(held_out_classes))
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size / 1024:.0f} KiB, {right:.1%} of {len(held_out)} held out are right")


if __name__ == "__main__":
    main()
