"""What a run asks: of which archive, of which inputs. It stays the same however often the run is begun."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from intgrads import __version__

DONE, FAILED = "done", "failed"
"""What the ``status`` of a row can be."""


class Run(BaseModel):
    """What a run asks, as ``run.json`` keeps it.

    Attributes
    ----------
    version : str
        Of this package: another may compute other numbers.
    model : str
        As the archive names it.
    archive : str
        A digest of its data.
    options : dict
        Fields of every request.
    tensors : list of str
        Tensors that are kept of each answer.
    fields_of_rows : list of str
        Fields that each row has of its own.
    rows : int
        Inputs.
    inputs : str
        A digest of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = __version__
    model: str
    archive: str
    options: dict[str, Any]
    tensors: list[str]
    fields_of_rows: list[str]
    rows: int
    inputs: str

    def fields(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request, given those of its row."""
        return {**self.options, **own, "fields": self.tensors}

    @property
    def several_targets(self) -> bool:
        """Whether each row has lists of what there is for each target."""
        return isinstance(self.options.get("target_class"), list)

    def write(self, place: Path) -> None:
        """Write it."""
        place.write_text(self.model_dump_json(indent=2), encoding="utf-8")

    @classmethod
    def read(cls, place: Path) -> Self:
        """Read one.

        Raises
        ------
        ValueError
            If it is none, or of a version with other fields.
        """
        return cls.model_validate_json(place.read_text(encoding="utf-8"))

    def differences(self, other: Run) -> list[str]:
        """Return what another run asks otherwise, in words."""
        if self.options != other.options or self.tensors != other.tensors:
            kept, asked = ({**one.options, "tensors": one.tensors} for one in (self, other))
            names = sorted(name for name in {*kept, *asked} if kept.get(name) != asked.get(name))
            return [f"{name} was {json.dumps(kept.get(name))}, is {json.dumps(asked.get(name))}" for name in names]
        words = {
            "version": "another version of intgrads",
            "model": "another model",
            "archive": "another archive",
            "rows": "another number of inputs",
            "inputs": "other inputs",
            "fields_of_rows": "other --field-column",
        }
        return [said for name, said in words.items() if getattr(self, name) != getattr(other, name)]
