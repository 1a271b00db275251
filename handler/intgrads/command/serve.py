"""``intgrads serve``: an archive, made where there is none, served until Ctrl-C."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import typer

from intgrads.command.archived import LabelsFile, Made, Setting, Weights, archive_of
from intgrads.command.on_ray import Workers, serve_on_ray
from intgrads.command.said import ERR, Exit, Json, fail, tell, tell_json
from intgrads.command.signals import interrupt, on_signals
from intgrads.places import HERE
from intgrads.serving.logs import NewLines
from intgrads.serving.readiness import why_not
from intgrads.serving.torchserve import PORTS, ServerError, TorchServe

REQUEST = re.compile(r"MODEL_LOG - .*?request (\S+): (\{.*\})$")
"""The line of the log that tells what became of a request."""

MATTERS = re.compile(r"MODEL_LOG - .*\b(WARNING|ERROR|CRITICAL)\b|Backend worker process died|OutOfMemoryError")
"""Other lines of the log that people want to see."""

PATIENCE = 300
"""Seconds that a network's loading may take, as archives tell TorchServe."""


def serve(  # noqa: PLR0917
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]", help="A model as `intgrads archive` takes it, or an archive's file, NAME.mar."
        ),
    ] = "demo-image",
    weights: Weights = None,
    labels: LabelsFile = None,
    setting: Setting = None,
    name: Annotated[str, typer.Option(help="The archive's name, and in its URL.")] = "intgrads",
    port: Annotated[int, typer.Option(min=1, max=65536 - len(PORTS), help="The first of five ports in a row.")] = 8080,
    host: Annotated[
        Literal["127.0.0.1", "0.0.0.0"],
        typer.Option(
            help="Where requests are taken: from this machine, or from whoever reaches it; no token is asked."
        ),
    ] = "127.0.0.1",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers; by default as many as the archive says.", show_default=False)
    ] = None,
    on: Annotated[Literal["torchserve", "ray"], typer.Option(help="What serves it.")] = "torchserve",
    most_workers: Annotated[
        int | None, typer.Option(min=1, help="Workers under load (Ray; by default no more than at the start).")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0, help="Cores of a worker, or a part of one (Ray).")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a worker, or a part of one (Ray).")] = 0,
    address: Annotated[
        str | None, typer.Option(help="A cluster's address, as `ray start` tells it (Ray; by default this machine).")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only write a file for `serve deploy` (Ray).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve an archive until Ctrl-C, on this machine or by Ray on a cluster; make it first where there is none."""
    if on == "torchserve" and (most_workers or address or config):
        raise typer.BadParameter("--most-workers, --address and --config are Ray's: add --on ray")
    archive = archive_of(model, name, Made(weights, labels, setting))
    if on == "ray":
        serve_on_ray(
            archive,
            Workers(workers or 1, most_workers, cpus, gpus),
            host=host,
            port=port,
            address=address,
            config=config,
            as_json=as_json,
        )
        return
    directory = HERE / ".run" / f"serve-{port}"
    # Management and metrics stay on this machine, whoever may send requests.
    properties = {"inference_address": f"http://{host}:{port}"}
    server = TorchServe(
        directory, range(port, port + len(PORTS)), [archive.name], archive.parent.absolute(), properties
    )
    stopped: list[int] = []
    on_signals(interrupt)
    try:
        ERR.print(f"starting TorchServe on {server.url} (Ctrl-C stops it)")
        with server.running_until_left(PATIENCE):
            if workers is not None:
                _scale(server, archive.stem, workers)
            if reason := why_not(server.management_url, archive.stem, seconds=PATIENCE):
                raise ServerError(f"{archive.stem} cannot answer: {reason}")
            # From here on nothing is broken off: what is told is told whole, once.
            on_signals(lambda number, _: stopped.append(number))
            _tell_ready(server, archive.stem, as_json)
            answered = 0
            for line in _lines(server, stopped):
                answered += _tell_line(line, as_json)
            if not stopped:
                raise ServerError(f"TorchServe exited.\n{server.last_words()}")
    except ServerError as error:
        fail(str(error))
    except KeyboardInterrupt:
        _tell_stopped("stopped before it was ready", 0, as_json)
        raise typer.Exit(Exit.INTERRUPTED) from None
    _tell_stopped(f"stopped after {answered} request{'s' * (answered != 1)}", answered, as_json)


def _scale(server: TorchServe, name: str, workers: int) -> None:
    url = f"{server.management_url}/models/{name}"
    asked: dict[str, int | str] = {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
    try:
        reply = httpx.put(url, params=asked, timeout=PATIENCE)
    except httpx.HTTPError as error:
        raise ServerError(f"the workers could not be started: {error}") from None
    if reply.status_code != httpx.codes.OK:
        raise ServerError(f"{workers} workers could not be started: {reply.text.strip()}\n{server.last_words()}")


def _lines(server: TorchServe, stopped: list[int]) -> Iterator[str]:
    """Yield the lines that the server has written into its logs and writes, until it ends or is to be stopped."""
    logs = {name: NewLines(server.directory / "logs" / name) for name in ("model_log.log", "ts_log.log")}
    over = False
    while not over:
        # Read once more after the end: a line is written a moment after its answer has left.
        over = bool(stopped) or not server.running()
        time.sleep(0.3)
        for name, log in logs.items():
            # TorchServe's own log repeats what the workers say.
            yield from (line for line in log.read() if name == "model_log.log" or "MODEL_LOG" not in line)


# ---------------------------------------------------------------------- what is said
def _tell_ready(server: TorchServe, name: str, as_json: bool) -> None:
    if as_json:
        tell_json(event="ready", url=server.url, name=name, logs=str(server.directory / "logs"))
    else:
        tell(f"{name} is ready: {server.url}/predictions/{name}", "green")
        tell(f"  intgrads attribute FILE --server {server.url} --name {name}")
        tell(f"  logs are in {server.directory / 'logs'}")


def _tell_line(line: str, as_json: bool) -> int:
    """Tell a line of the log if it matters; return how many requests it tells of."""
    found = REQUEST.search(line)
    if not found:
        if MATTERS.search(line):
            tell(line, "yellow", ERR)
        return 0
    account: dict[str, Any] = json.loads(found[2])
    if as_json:
        tell_json(event="request", id=found[1], **account)
    else:
        error = account["attribution_error"]
        parts = [
            f"{account['seconds']:.1f} s",
            f"{account['evaluations']} evaluations" if account["evaluations"] else "",
            f"error of the map {error:.1%}" if error is not None else "",
            f"{account['size'] / 2**20:.1f} MB of {account['format']}" if account["format"] else "",
        ]
        style = None if account["outcome"] == "answered" else "yellow"
        tell(f"{time.strftime('%H:%M:%S')}  {account['outcome']}: {', '.join(filter(None, parts))}", style)
    return 1


def _tell_stopped(said: str, answered: int, as_json: bool) -> None:
    if as_json:
        tell_json(event="stopped", requests=answered)
    else:
        tell(said)
