"""What the command says: to people by rich, to programs in JSON lines; and what its exit codes mean."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape


class Exit(IntEnum):
    """Exit codes. 2, for what was typed wrongly, is given by typer."""

    DONE = 0
    FAILED = 1
    SOME_FAILED = 3
    INTERRUPTED = 130


OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Tell programs: one JSON object a line on standard output.")]


def tell(text: str, style: str | None = None, console: Console = OUT) -> None:
    """Say something as it is; brackets in it are no markup."""
    console.print(text, style=style, markup=False)


def tell_json(**content: Any) -> None:
    """Say something to a program."""
    print(json.dumps(content), flush=True)


def fail(message: str) -> NoReturn:
    """Say on standard error what went wrong, and exit."""
    ERR.print(f"[red]intgrads:[/] {escape(message)}")
    raise typer.Exit(Exit.FAILED)
