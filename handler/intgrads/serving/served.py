"""How an archive is served by Ray Serve, as its configuration files say it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Served(BaseModel):
    """How an archive is served; the arguments of :func:`build`, in a configuration file of ``serve deploy`` too."""

    model_config = ConfigDict(extra="forbid")

    archive: str = Field(description="the path of NAME.mar, on every machine of the cluster")
    name: str | None = Field(None, description="what it is called in its URL; default the file's name")
    replicas: int = Field(1, ge=1, description="replicas at the start, and the fewest")
    most_replicas: int | None = Field(None, ge=1, description="replicas under load; default as many as at the start")
    cpus: float = Field(1, ge=0, description="cores of a replica, or parts of one")
    gpus: float = Field(0, ge=0, description="GPUs of a replica, or parts of one")

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or Path(self.archive).stem


def route(name: str) -> str:
    """Return the path of an archive's URL."""
    return f"/predictions/{name}"


def configuration(archives: Sequence[Served], host: str, port: int) -> dict[str, Any]:
    """Return what a configuration file of ``serve deploy`` holds for some archives."""
    here = "intgrads.serving.ray"
    return {
        "http_options": {"host": host, "port": port},
        "applications": [
            *(
                {
                    "name": one.called,
                    "route_prefix": route(one.called),
                    "import_path": f"{here}:build",
                    "args": one.model_dump(exclude_none=True),
                }
                for one in archives
            ),
            {
                "name": "front",
                "route_prefix": "/",
                "import_path": f"{here}:front",
                "args": {"names": [one.called for one in archives]},
            },
        ],
    }
