"""What a benchmark found, as a table for people and as JSON beside it: the same of each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def report(name: str, conditions: Mapping[str, object], results: Sequence[Mapping[str, object]]) -> None:
    """Print the rows of a table and write them to ``results.NAME.json`` in this folder.

    Parameters
    ----------
    name : str
    conditions : mapping
        What JSON says before the rows: the machine, the steps and the like.
    results : sequence of mapping
        Rows of the same columns.
    """
    print("| " + " | ".join(results[0]) + " |\n|" + "---|" * len(results[0]))
    for row in results:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    content = {**conditions, "results": results}
    Path(__file__).with_name(f"results.{name}.json").write_text(json.dumps(content, indent=2) + "\n")
