"""``intgrads archive``: what ``archive.sh`` runs, from anywhere."""

from __future__ import annotations

import typer

from intgrads.archives import bounded


def archive(context: typer.Context) -> None:
    """Make model_store/NAME.mar of a network; `intgrads archive --help` lists models and settings."""
    raise typer.Exit(bounded.main(context.args))
