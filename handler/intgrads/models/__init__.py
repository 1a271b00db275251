"""The networks, one family a file. A new one is a file here and a line in :data:`FAMILIES`."""

from __future__ import annotations

from intgrads.models import tensormask
from intgrads.models.bert import Bert
from intgrads.models.bit import BiT
from intgrads.models.demo_image import DemoImage
from intgrads.models.demo_text import DemoText
from intgrads.models.family import Family
from intgrads.models.lanet import LaNet
from intgrads.models.sequence_classifiers import SequenceClassifiers
from intgrads.models.timm_classifiers import TimmClassifiers
from intgrads.models.xlnet import XLNet

_PICTURES: tuple[Family, ...] = (DemoImage(), BiT(), LaNet(), TimmClassifiers())
_TEXTS: tuple[Family, ...] = (DemoText(), Bert(), XLNet(), SequenceClassifiers())
FAMILIES: dict[str, Family] = {family.name: family for family in _PICTURES + _TEXTS}


def find_family(model: str) -> Family:
    """Return the family that builds the network MODEL names.

    Raises
    ------
    ValueError
        If there is none; the message lists the ones there are.
    """
    for family in FAMILIES.values():
        if family.claims(model):
            return family
    usages = "\n  ".join([*(family.usage for family in FAMILIES.values()), tensormask.USAGE])
    raise ValueError(f"unknown MODEL {model!r}; choose one of\n  {usages}")
