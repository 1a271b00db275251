"""The options by which a command is told what to ask: the fields of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from intgrads.client.options import value_of

TargetClass = Annotated[str | None, typer.Option(help="A label or an index; by default what is predicted.")]
Tolerance = Annotated[float | None, typer.Option(help="The error of the map that is allowed, as 0.02.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Any other field of a request; lists as JSON. May be repeated."),
]


def options_of(pairs: Sequence[str] | None, target_class: str | None, tolerance: float | None) -> dict[str, Any]:
    """Return the fields of the requests."""
    options: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--field {pair}: write NAME=VALUE")
        if name == "format":
            raise typer.BadParameter("the format is given as --format")
        options[name] = value_of(value)
        if name == "fields" and isinstance(options[name], str):
            options[name] = options[name].split(",")
    if target_class is not None:
        options["target_class"] = value_of(target_class)
    if tolerance is not None:
        options["tolerance"] = tolerance
    return options
