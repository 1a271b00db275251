"""``intgrads bulk``: a data set through a network, on one machine or many; broken off, it is taken up again."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from filelock import Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intgrads.command.archived import LabelsFile, Made, Setting, Weights, archive_of
from intgrads.command.fields import Fields, TargetClass, Tolerance, options_of
from intgrads.command.said import ERR, Exit, Json, fail, tell, tell_json
from intgrads.command.signals import interrupt, on_signals

if TYPE_CHECKING:
    from intgrads.bulk.plan import Workers
    from intgrads.bulk.session import Session, Sizes
    from intgrads.bulk.summary import Summary

OF_INPUTS = {"data", "format", "image", "img_data", "sequence"}
"""Fields of a request that a run sets."""

EVERY = 5.0
"""Seconds between lines about progress, for programs."""


def bulk(  # noqa: PLR0917
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A folder, a pattern in quotes, or a CSV, Parquet or JSONL of texts or paths."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="An archive's file, NAME.mar, or a model as `intgrads archive` takes it."),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, metavar="DIR", help="Where results are written.")],
    weights: Weights = None,
    labels: LabelsFile = None,
    setting: Setting = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of texts; default `text`.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of files' paths; default `path`.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column that names rows; default `id`, or the row's number.")
    ] = None,
    field_column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="A field that each row has in a column. May be repeated."),
    ] = None,
    target_class: TargetClass = None,
    tolerance: Tolerance = None,
    field: Fields = None,
    tensors: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Tensors to keep of each answer; default none.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers.")] = 1,
    cpus: Annotated[
        float | None,
        typer.Option(min=0, help="Cores of a worker; default its share of this machine.", show_default=False),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a worker, or a part of one.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="A cluster's address, as `ray start` tells it; by default this machine.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    as_json: Json = False,
) -> None:
    """Attribute a data set. Begun again with the same --out, it goes on where it was broken off."""
    options = options_of(field, target_class, tolerance)
    of_columns = _pairs(field_column or ())
    _check_fields({*options, *of_columns})
    archive = archive_of(model, re.sub(r"[^\w.-]+", "-", model), Made(weights, labels, setting)).absolute()
    if find_spec("ray") is None:
        fail("Ray is not installed: pip install 'intgrads[ray]'")
    # Not before it is needed: other commands start at once.
    from intgrads.bulk.inputs import Columns
    from intgrads.bulk.plan import Workers
    from intgrads.bulk.session import Asked, Session
    from intgrads.bulk.store import Store
    from intgrads.speed.cores import cores

    columns = Columns(text_column, path_column, id_column, of_columns)
    asked = Asked(source, columns, archive, options, tuple(tensors.split(",")) if tensors else ())
    share = max(1.0, cores() // workers) if cpus is None else cpus
    crew = Workers(str(out.absolute()), str(archive), workers, share, gpus, address)
    store = Store(out.absolute())
    on_signals(interrupt)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with store.lock().acquire(timeout=0):
            session = Session(store, asked, retry_failed)
            _tell_begin(session, as_json)
            failed = _worked(session, crew, as_json)
    except Timeout:
        fail(f"another run is writing to {out}; wait for its end, or choose another --out")
    except KeyboardInterrupt:
        ERR.print("stopped; what is finished is kept: the same command goes on from there")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except OSError as error:
        fail(f"{error}; what is finished is kept: mend that, and enter the same command again")
    except (RuntimeError, ValueError) as error:
        fail(str(error))
    if failed:
        raise typer.Exit(Exit.SOME_FAILED)


def _check_fields(names: Set[str]) -> None:
    """Refuse what a run settles itself."""
    if "fields" in names:
        raise typer.BadParameter("the tensors that are kept are named by --tensors")
    for name in sorted(names & OF_INPUTS):
        raise typer.BadParameter(f"{name} is the input, or the format of the answer: a run sets it by itself")


def _pairs(written: Sequence[str]) -> dict[str, str]:
    """Return fields and the columns that they are read from."""
    pairs = {}
    for pair in written:
        field, equals, column = pair.partition("=")
        if not equals or not field or not column:
            raise typer.BadParameter(f"--field-column {pair}: write FIELD=COLUMN")
        pairs[field] = column
    return pairs


def _worked(session: Session, crew: Workers, as_json: bool) -> int:
    """Work through what is left, sum up, and return how many inputs have no answer."""
    from intgrads.bulk.pool import joined

    found, told = session.finished(), len(session.notes)
    if found is None:
        with joined(crew):
            on_signals(interrupt)  # Ray has handlers of its own
            try:
                if not session.state.done:
                    with _phase("loading the network, and trying a few inputs", as_json):
                        session.try_out(crew)
                    _tell_notes(session.notes[told:], as_json)
                _tell_sizes(session.sizes(), as_json)
                with _progress(session, as_json):
                    session.work(crew)
            finally:
                session.merge()  # whatever ended it: what is finished becomes results
            with _phase("writing the report, with the pages of the largest errors", as_json):
                found = session.finish(crew)
    session.store.close()
    _tell_end(session, found, as_json)
    return found.failed


@contextmanager
def _progress(session: Session, as_json: bool) -> Iterator[None]:
    """Tell how far it is, again and again, from a thread: by files, wherever workers write them."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    over = threading.Event()
    with Progress(*columns, console=ERR, transient=True, disable=as_json or not ERR.is_terminal) as progress:
        bar = progress.add_task("", total=session.run.rows, rate="")

        def watch() -> None:
            begun = told = time.monotonic()
            before, _ = session.counts()
            loading = True
            # Where the folder has gone, or whoever read this, there is nothing more to tell.
            with suppress(OSError):
                while not over.wait(0.5):
                    done, failed = session.counts()
                    now = time.monotonic()
                    if loading and done > before:
                        # The rate is that of workers at work.
                        loading, begun, before = False, now, done
                    rate = (done - before) / (now - begun) if now > begun else 0.0
                    failures = f", {failed} failed" if failed else ""
                    progress.update(bar, completed=done, rate=f"{rate:.3g} a second{failures}")
                    if as_json and now - told > EVERY:
                        told = now
                        left = (session.run.rows - done) / rate if rate else None
                        tell_json(
                            event="progress", done=done, failed=failed, rows=session.run.rows, rate=rate, left=left
                        )

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


# ---------------------------------------------------------------------- what is said
@contextmanager
def _phase(said: str, as_json: bool) -> Iterator[None]:
    """Say what goes on for as long as it does."""
    if as_json:
        tell_json(event="phase", said=said)
    elif not ERR.is_terminal:
        tell(said, console=ERR)
    with ERR.status(said):
        yield


def _tell_begin(session: Session, as_json: bool) -> None:
    state, run = session.state, session.run
    if as_json:
        tell_json(event="begin", rows=run.rows, done=state.done, failed=state.failed, left=state.rows_left)
    else:
        before = f", of which {state.done} are finished" if state.done else ""
        tell(f"{run.rows} inputs{before}; {state.rows_left} to be answered by {run.model}", console=ERR)
    _tell_notes(session.notes, as_json)


def _tell_notes(notes: Sequence[str], as_json: bool) -> None:
    for note in notes:
        if as_json:
            tell_json(event="note", said=note)
        else:
            tell(note, "yellow", ERR)


def _tell_sizes(sizes: Sizes | None, as_json: bool) -> None:
    from intgrads.bulk.session import in_words

    if sizes is None:
        return
    if as_json:
        tell_json(event="sizes", rows=sizes.rows, results=sizes.results, tensors=sizes.tensors, free=sizes.free)
        return
    tensors = f" and {in_words(sizes.tensors)} of tensors" if sizes.tensors else ""
    tell(
        f"{sizes.rows} rows will take about {in_words(sizes.results)}{tensors}; {in_words(sizes.free)} are free",
        console=ERR,
    )


def _tell_end(session: Session, found: Summary, as_json: bool) -> None:
    place = session.store.directory
    if as_json:
        tell_json(event="end", done=found.done, failed=found.failed, results=str(session.store.results))
        return
    tell(f"{found.done} of {found.rows} inputs are answered in {place / 'results'}", "green")
    if found.failed:
        tell(f"{found.failed} failed; their rows say why, and --retry-failed tries them again", "yellow")
    tell(f"  {session.store.report}")
