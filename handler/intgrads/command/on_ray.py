"""``intgrads serve --on ray``: the same archive by Ray Serve, on this machine or on a cluster, until Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import httpx
import typer
import yaml

from intgrads.command.said import ERR, Exit, fail, tell, tell_json
from intgrads.serving.archives import opened

PATIENCE = 60
"""Seconds to wait for what an archive says of itself."""


class Workers(NamedTuple):
    """How many there are, at most under load, and what of a machine each has."""

    fewest: int
    most: int | None
    cpus: float
    gpus: float


def serve_on_ray(
    archive: Path,
    workers: Workers,
    *,
    host: str,
    port: int,
    address: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Serve an archive by Ray Serve, or write a configuration that does."""
    # Not before it is needed: other commands start at once.
    from intgrads.serving.served import Served, configuration

    served = Served(
        archive=str(archive.absolute()),
        replicas=workers.fewest,
        most_replicas=workers.most,
        cpus=workers.cpus,
        gpus=workers.gpus,
    )
    if config is not None:
        config.write_text(yaml.safe_dump(configuration([served], host, port), sort_keys=False))
        tell(f"{config}: start a cluster by `ray start --head`, then `serve deploy {config}`")
        return
    try:
        with opened(archive):
            pass  # what is none is told before Ray is started for it
    except (OSError, ValueError) as error:
        fail(str(error))
    try:
        from ray.exceptions import RayError

        from intgrads.serving import ray
    except ImportError as error:
        fail(f"Ray is not installed ({error}): pip install 'intgrads[ray]'")
    url = f"http://127.0.0.1:{port}"
    stopping = {signal.SIGINT, signal.SIGTERM}
    ERR.print(f"starting Ray Serve on {url} (Ctrl-C stops it)")
    try:
        ray.run([served], host=host, port=port, address=address)
        # From here on nothing is broken off: these signals wait to be taken.
        signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
        state = httpx.get(f"{url}/ready", timeout=PATIENCE).json().get(served.called)
        if state != "ready":
            raise ConnectionError(f"{served.called} cannot answer: {state}")
        if as_json:
            tell_json(event="ready", url=url, name=served.called)
        else:
            tell(f"{served.called} is ready: {url}/predictions/{served.called}", "green")
            tell(f"  intgrads attribute FILE --server {url} --name {served.called}")
        signal.sigwait(stopping)
    except KeyboardInterrupt:
        ray.stop()
        ERR.print("stopped before it was ready")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except (OSError, RuntimeError, ValueError, RayError, httpx.HTTPError) as error:
        ray.stop()
        fail(str(error))
    ray.stop()
    if as_json:
        tell_json(event="stopped")
    else:
        tell("stopped")
