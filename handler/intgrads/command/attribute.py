"""``intgrads attribute``: files to a server, many at a time, and their answers into files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from intgrads.client import AsyncClient, ClientError, RefusedError, Result
from intgrads.client.client import URL
from intgrads.command.fields import Fields, TargetClass, Tolerance, options_of
from intgrads.command.said import ERR, OUT, Exit, Json, fail, tell, tell_json
from intgrads.serving.torchserve import PORTS, ServerError, TorchServe, free_ports

Format = Literal["safetensors", "gzip", "npz", "json", "png", "html"]


def attribute(  # noqa: PLR0917
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", exists=True, dir_okay=False, readable=True, help="Pictures or texts."),
    ],
    server: Annotated[
        str | None, typer.Option(metavar="URL", help=f"The server to ask; default {URL}.", show_default=False)
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="ARCHIVE",
            exists=True,
            dir_okay=False,
            help="Instead of asking a server, start one for this NAME.mar, and stop it at the end.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="The archive to ask, as it is called in the URL.")] = "intgrads",
    out: Annotated[Path, typer.Option(file_okay=False, metavar="DIR", help="Where answers are written.")] = Path(),
    format: Annotated[Format, typer.Option(help="The format of answers.")] = "safetensors",
    target_class: TargetClass = None,
    tolerance: Tolerance = None,
    field: Fields = None,
    jobs: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 4,
    retries: Annotated[int, typer.Option(min=0, help="How often a busy server is asked again.")] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for an answer.")] = 600,
    key: Annotated[str | None, typer.Option(envvar="INTGRADS_KEY", help="The server's token, if it wants one.")] = None,
    as_json: Json = False,
) -> None:
    """Ask for attributions of files and write each answer as DIR/STEM.attribution.FORMAT."""
    if server is not None and model is not None:
        raise typer.BadParameter("a server is asked (--server) or one is started (--model), not both")
    options = options_of(field, target_class, tolerance)
    places = {file: out / f"{file.stem}.attribution.{format}" for file in files}
    twice = sorted(str(place) for place, count in Counter(places.values()).items() if count > 1)
    if twice:
        raise typer.BadParameter(f"several files would become {', '.join(twice)}; give each folder an --out of its own")
    rows: list[dict[str, Any]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _asked(server or URL, model, name) as (url, archive):
            asking = AsyncClient(url, model=archive, key=key, timeout=timeout, retries=retries)
            asyncio.run(_all(asking, places, format, options, jobs, as_json, rows))
    except (ServerError, ClientError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        ERR.print(f"stopped; {sum('out' in row for row in rows)} of {len(places)} answers were written")
        raise typer.Exit(Exit.INTERRUPTED) from None
    failed = sum("error" in row for row in rows)
    if failed:
        if len(rows) > 1:
            ERR.print(f"{failed} of {len(rows)} files were not answered")
        raise typer.Exit(Exit.FAILED)


@contextlib.contextmanager
def _asked(server: str, model: Path | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield the URL of the server to ask and the name of its archive."""
    if model is None:
        try:
            httpx.get(f"{server.rstrip('/')}/ping", timeout=10)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(
                f"no server answers at {server} ({error}); start one by `intgrads serve`, or name an archive by --model"
            ) from None
        yield server, name
        return
    if model.suffix != ".mar":
        raise typer.BadParameter(f"--model {model}: an archive is needed, NAME.mar; `intgrads archive` makes one")
    with contextlib.ExitStack() as until_left:
        directory = Path(until_left.enter_context(tempfile.TemporaryDirectory(prefix="intgrads-")))
        own = TorchServe(directory, free_ports(len(PORTS)), [model.name], model.parent.absolute())
        with ERR.status(f"starting a server for {model.name}"):
            until_left.enter_context(own.running_until_left())
        yield own.url, model.stem


async def _all(  # noqa: PLR0917
    asking: AsyncClient,
    places: dict[Path, Path],
    format: str,
    options: dict[str, Any],
    jobs: int,
    as_json: bool,
    rows: list[dict[str, Any]],
) -> None:
    """Ask about all files, ``jobs`` at a time, and tell of each as it is answered."""
    columns = (TextColumn("attributing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    places_free = asyncio.Semaphore(jobs)
    # A bar and what is said besides go to one console, which keeps them apart; what goes into a pipe goes there alone.
    console = ERR if ERR.is_terminal and OUT.is_terminal else OUT
    hidden = not ERR.is_terminal or (as_json and OUT.is_terminal)
    with Progress(*columns, console=ERR, transient=True, disable=hidden, redirect_stdout=False) as progress:
        bar = progress.add_task("", total=len(places))

        async def one(file: Path, place: Path) -> None:
            async with places_free:
                row = await _one(asking, file, place, format, options)
            rows.append(row)
            progress.advance(bar)
            _tell_row(row, as_json, console)

        async with asking, asyncio.TaskGroup() as group:
            for file, place in places.items():
                group.create_task(one(file, place))


async def _one(asking: AsyncClient, file: Path, place: Path, format: str, options: dict[str, Any]) -> dict[str, Any]:
    """Ask about a file; return what is told of it."""
    started = time.monotonic()
    row: dict[str, Any] = {"file": str(file)}
    try:
        raw = await asking.ask(file, format=format, **options)
        info = Result.read(raw).info if format == "safetensors" else json.loads(raw) if format == "json" else {}
        place.write_bytes(raw)
    except RefusedError as error:
        told = {"status": error.status, "type": error.type, "message": error.message, "field": error.field}
        return {**row, "error": told}
    except (ClientError, OSError, ValueError) as error:
        # A ValueError is the answer of something else than our server.
        return {**row, "error": {"status": None, "type": type(error).__name__, "message": str(error), "field": None}}
    row |= {"out": str(place), "bytes": len(raw), "seconds": round(time.monotonic() - started, 3)}
    return {**row, **{name: info[name] for name in ("target_label", "attribution_error") if name in info}}


def _tell_row(row: dict[str, Any], as_json: bool, console: Console) -> None:
    if as_json:
        tell_json(**row)
    elif "error" in row:
        error = row["error"]
        field = f"{error['field']}: " if error["field"] else ""
        reason = f" ({error['status']} {error['type']})".replace(" )", ")") if error["status"] else ""
        tell(f"{row['file']}: {field}{error['message']}{reason}", "red", ERR)
    else:
        label, error = row.get("target_label"), row.get("attribution_error")
        said = [] if label is None else [", ".join(label) if isinstance(label, list) else label]
        if error is not None:
            said.append(f"error of the map {max(error) if isinstance(error, list) else error:.1%}")
        tell(f"{row['file']}: {', '.join([*said, row['out']])}", console=console)
