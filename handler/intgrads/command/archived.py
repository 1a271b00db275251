"""The options by which a command is given a network: an archive's file, or a model of which an archive is made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from intgrads.archives import bounded
from intgrads.command.said import ERR, Exit, fail
from intgrads.places import MODEL_STORE
from intgrads.serving.archives import is_current, model_of

Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="The model's checkpoint.")]
LabelsFile = Annotated[Path | None, typer.Option(metavar="FILE", help="The labels of its outputs.")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the archive; may be repeated.")
]


class Made(NamedTuple):
    """Of what an archive is made, where there is none."""

    weights: Path | None = None
    labels: Path | None = None
    settings: list[str] | None = None

    @property
    def options(self) -> list[str]:
        """The archiver's options."""
        given = [f"--weights={self.weights}"] * bool(self.weights) + [f"--labels={self.labels}"] * bool(self.labels)
        return given + [f"--set={pair}" for pair in self.settings or ()]


def archive_of(model: str, name: str, made: Made) -> Path:
    """Return the archive of a model, made where there is none or where it is older than the code."""
    if model.endswith(".mar"):
        if made.options:
            raise typer.BadParameter("an archive has its weights, labels and settings; leave these options out")
        return Path(model)
    archive = MODEL_STORE / f"{name}.mar"
    held = model_of(archive)
    if held not in (None, model):
        fail(
            f"{archive.parent.name}/{archive.name} holds {held}, not {model}; rename it, choose another --name where "
            f"there is that option, or take it as it is: {archive}"
        )
    if made.options or not is_current(archive):
        ERR.print(f"making {archive.parent.name}/{archive.name}")
        status = bounded.main([model, f"--name={name}", *made.options])
        if status == Exit.INTERRUPTED:
            raise typer.Exit(Exit.INTERRUPTED)
        if status:
            fail("no archive could be made (the reason stands above)")
    return archive
