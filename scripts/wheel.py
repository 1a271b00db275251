"""The one thing of a wheel that pyproject.toml cannot say: handler.py, beside the package here, lies in it there.

Hatchling's own ``force-include`` would put a copy into editable installs too, which grows old unseen.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class HandlerInPackage(BuildHookInterface[Any]):
    """Puts what TorchServe loads where ``intgrads.archives.archiver`` looks for it in an installed package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the handler to a wheel, unless it is an editable install's."""
        if version != "editable":
            build_data["force_include"]["handler/handler.py"] = "intgrads/handler.py"
