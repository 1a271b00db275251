"""Every layer of a network, with the module that it hangs in: what the transformations replace layers by."""

from __future__ import annotations

from typing import Any

from torch import nn


def layers(module: nn.Module) -> list[tuple[nn.Module, str, Any]]:
    """Return (parent, name, layer) of every layer below a module; the list stays as it is while they are replaced."""
    return [(parent, name, layer) for parent in module.modules() for name, layer in parent.named_children()]
