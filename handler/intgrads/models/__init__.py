"""The networks, one family a file. A new one is a file here and a line in :data:`FAMILIES`."""

from __future__ import annotations

from intgrads.models.bit import BiT
from intgrads.models.demo_image import DemoImage
from intgrads.models.family import Family
from intgrads.models.lanet import LaNet
from intgrads.models.timm_classifiers import TimmClassifiers

FAMILIES: dict[str, Family] = {family.name: family for family in (DemoImage(), BiT(), LaNet(), TimmClassifiers())}


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
    usages = "\n  ".join(family.usage for family in FAMILIES.values())
    raise ValueError(f"unknown MODEL {model!r}; choose one of\n  {usages}")
