"""Ray, joined: this machine alone, or a cluster that runs."""

from __future__ import annotations

import logging
import os


def join(address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at an address, as ``ray start`` tells it or RAY_ADDRESS says.

    Raises
    ------
    ConnectionError
        If there is no cluster at that address.
    """
    import ray

    # Ray tells its makers who uses it, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        # Left open, Ray would join any cluster that happens to run on this machine.
        address or os.environ.get("RAY_ADDRESS") or "local",
        include_dashboard=False,
        log_to_driver=False,
        ignore_reinit_error=True,
        logging_level=logging.ERROR,
    )
