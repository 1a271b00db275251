"""The command line ``intgrads``: its commands, each from the module of its name."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import intgrads
from intgrads.command import app as app_command
from intgrads.command import archive, attribute, bulk, doctor, serve, show

app = typer.Typer(
    name="intgrads",
    help="Which pixels or words moved a network's output: serve a network, and ask for attributions.",
    epilog="Exit codes: 0 done, 1 failed (standard error says why), 2 wrong usage, 3 done, but for some "
    "inputs of a data set, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(serve.serve)
# Its options are the archiver's own, --help among them.
app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)(
    archive.archive
)
app.command()(attribute.attribute)
app.command()(bulk.bulk)
app.command()(show.show)
app.command()(app_command.app)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        print(intgrads.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may be no text, and a terminal may not know every letter: told with escapes, not with an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
