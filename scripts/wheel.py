"""What pyproject.toml cannot say: a wheel holds handler.py and TorchServe's configuration, which lie outside here.

Hatchling's own ``force-include`` would put a copy into editable installs too, which grows old unseen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BESIDE = ("handler/handler.py", "config.properties", "metrics.yaml")


class BesideInPackage(BuildHookInterface[Any]):
    """Puts what TorchServe loads and reads where ``intgrads.places`` looks for it in an installed package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a wheel, unless it is an editable install's."""
        if version != "editable":
            for name in BESIDE:
                build_data["force_include"][name] = f"intgrads/{Path(name).name}"
