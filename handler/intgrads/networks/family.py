"""What a family of networks must offer: reading a checkpoint when the archive is made, building when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from intgrads.errors import CheckpointError
from intgrads.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from intgrads.outputs import Outputs
    from intgrads.pictures.transform import PictureSpec


@dataclass(frozen=True)
class Order:
    """What the user asked ``archive.sh`` for.

    Attributes
    ----------
    model : str
        MODEL of the command line, e.g. ``timm:resnet18``.
    weights : Path or None
    labels : list of str or None
    settings : Settings
    tokenizer : Path or None
    tensormask, tensormask_config : Path or None
        Weights of a TensorMask, and its configuration where it is not the published one.
    tensormask_labels : list of str or None
        Of its classes, where it stands beside a classifier, whose `labels` are its own.
    examples : Path or None
        A folder of inputs that requests can start from.
    """

    model: str
    weights: Path | None
    labels: list[str] | None
    settings: Settings
    tokenizer: Path | None = None
    tensormask: Path | None = None
    tensormask_config: Path | None = None
    tensormask_labels: list[str] | None = None
    examples: Path | None = None

    def file(self, option: str) -> Path:
        """Return the path that an option names.

        Raises
        ------
        CheckpointError
            If it was not given.
        """
        path: Path | None = getattr(self, option)
        if path is None:
            raise CheckpointError(f"{self.model} needs {flag(option)}")
        return path

    @property
    def title(self) -> str:
        """MODEL as answers name it: a folder by its own name, not by where it lay."""
        kind, colon, name = self.model.partition(":")
        return f"{kind}{colon}{Path(name).name}"


class InputSpec(Protocol):
    """How a network wants its input, be it a picture or a text."""

    @property
    def kind(self) -> str:
        """Name of the kind of input, as in :data:`intgrads.kinds.KINDS`."""
        ...

    def stated(self) -> dict[str, Any]:
        """Return it as plain JSON, for the archive's manifest."""
        ...

    def files(self) -> dict[str, str]:
        """Return what of it lies in files of its own, by their names."""
        ...


@dataclass(frozen=True)
class Ingredients:
    """What goes into the archive.

    Attributes
    ----------
    architecture : dict
        What :meth:`Family.build` needs, as JSON.
    weights : dict of str to Tensor
        With the names of the module that :meth:`Family.build` returns.
    labels : list of str
    spec : InputSpec
        How the network wants its input.
    outputs : str
        What the outputs are, where the archive's settings do not say; see :mod:`intgrads.outputs`.
    notes : tuple of str
        What was settled for the user, who should hear of it.
    tolerance : float or None
        Of requests that say nothing of the nodes, where the archive's settings do not either; None for fixed steps.
    """

    architecture: dict[str, Any]
    weights: dict[str, Tensor]
    labels: list[str]
    spec: InputSpec
    outputs: Outputs = "softmax"
    notes: tuple[str, ...] = ()
    tolerance: float | None = None


DEFAULT_TOLERANCE = 0.05
"""Of the demos and of ``timm:``; more than half of ordinary photos err by more at 50 steps."""


def flag(option: str) -> str:
    """Return an option of the order as the command line writes it."""
    what = "PATH" if option == "tokenizer" else "FILE"
    return f"--{option.replace('_', '-')} {what}"


def check_number(labels: Sequence[str], outputs: int) -> None:
    """Raise CheckpointError unless there is one label for each of a checkpoint's outputs."""
    if len(labels) != outputs:
        raise CheckpointError(
            f"--labels names {len(labels)} and the checkpoint has {outputs} outputs; name each, in their order"
        )


def adjusted(picture: PictureSpec, settings: Settings) -> PictureSpec:
    """Return how a picture is prepared where an archive's settings say otherwise.

    A `crop_pct` is of the way of resizing that it was stated with: whoever asks for the whole picture, squashed or
    padded, gets the whole unless they name one.
    """
    resizing = settings.resize or picture.resizing
    crop_pct = picture.crop_pct if resizing in (picture.resizing, "crop") else 1.0
    height, width = settings.input_size or picture.size
    return replace(
        picture,
        height=height,
        width=width,
        mean=settings.mean or picture.mean,
        std=settings.std or picture.std,
        resizing=resizing,
        crop_pct=settings.crop_pct or crop_pct,
    )


class Family(Protocol):
    """A kind of network. One file in ``networks/`` and one entry in its registry, which checks what the user gave."""

    def read(self, order: Order) -> Ingredients:
        """Read what the user brought, check that it fits, and return what goes into the archive.

        Raises
        ------
        CheckpointError
            If something is missing or does not fit; the message says what and what to do.
        """
        ...

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network, its weights not yet loaded."""
        ...
