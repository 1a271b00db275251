"""Write the tables of the documentation from the code that defines them: ``python scripts/docs_tables.py``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` in a page of ``docs/`` or in CONTRIBUTING.md.
``tests/documents/test_docs.py`` fails where a page says anything else than this would write.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "handler"))

try:
    from intgrads import __version__
    from intgrads.archives.archiver import parser
    from intgrads.detections.request import DetectionRequest
    from intgrads.errors import STATUS, Kind
    from intgrads.formats.encodings import CONTENT_TYPES
    from intgrads.networks import usages
    from intgrads.openapi import openapi
    from intgrads.pictures.request import ImageRequest
    from intgrads.request import Request
    from intgrads.settings import Settings
    from intgrads.texts.request import TextRequest
    from pydantic.fields import FieldInfo
except ImportError as error:
    sys.exit(f"docs_tables.py: {error}; run it with the environment's Python: .venv/bin/python scripts/docs_tables.py")

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HOUSE = ("handler", "scripts", "benchmarks", "training")
"""Folders whose files CONTRIBUTING lists."""

OPENAPI = ROOT / "docs" / "openapi.json"

RESULTS = ROOT / "benchmarks" / "results"

MEASURED = (
    "speed", "precision", "equal_error-medians", "map_error-networks", "map_error-rules", "map_error-cost", "growth",
    "server-around", "server-load", "server-start", "faithfulness", "faithfulness-differences", "faithfulness-contrast",
    "saturation", "soak", "soak-memory", "tensormask", "gpu", "ray_serve", "ray_serve-around", "bulk", "bulk-ray",
    "bulk-memory",
)  # fmt: skip
"""Tables of benchmarks: the benchmark's name, and after a hyphen which of its tables it is."""

BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

KINDS: Mapping[type[Request], str] = {
    ImageRequest: "pictures",
    DetectionRequest: "objects",
    TextRequest: "texts",
}
"""What the pages call each kind of request."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Return the settings of an archive."""
    rows = [
        [f"`{name}`", "not set" if field.default is None else f"`{field.default}`", str(field.description)]
        for name, field in Settings.model_fields.items()
    ]
    return table(["setting", "default", "what it is"], rows)


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the words that a field takes, where it takes nothing else."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is Union:
        return next((words for part in get_args(annotation) if (words := choices(part))), ())
    return ()


def field_row(name: str, field: FieldInfo) -> list[str]:
    """Return a row about a field of a request.

    Its default is what its description says, an archive's setting of its name, or what the model declares.
    """
    what, _, default = (field.description or "").partition("; default ")
    if words := choices(field.annotation):
        what += " (" + ", ".join(f"`{word}`" for word in words) + ")"
    if not default and name in Settings.model_fields:
        default = "the archive's setting"
    elif not default:
        default = "none" if field.default is None else f"`{str(field.default).lower()}`"
    return [f"`{name}`", default, what]


def fields_of(kind: type[Request]) -> str:
    """Return the fields that a kind of request has and its base has not, or has otherwise."""
    base = kind.__mro__[1].model_fields  # type: ignore[attr-defined]
    rows = {name: field_row(name, field) for name, field in kind.model_fields.items()}
    new = [row for name, row in rows.items() if name not in base or row != field_row(name, base[name])]
    return table(["field", "default", "what it is"], new)


def common_fields() -> str:
    """Return the fields of every request: those that no kind states for itself are all that there is to them."""
    rows = [field_row(name, field) for name, field in Request.model_fields.items() if name != "baseline"]
    return table(["field", "default", "what it is"], rows)


def formats() -> str:
    """Return the formats of answers, the content type of each, and what there are answers in it about."""
    content_types: dict[str, list[str]] = {}
    for content_type, format in CONTENT_TYPES.items():
        content_types.setdefault(format, []).append(f"`{content_type}`")
    rows = [
        [f"`{format}`", " or ".join(kinds), ", ".join(KINDS[kind] for kind in KINDS if format in kind.formats())]
        for format, kinds in content_types.items()
    ]
    return table(["`format`", "`Accept`", "of"], rows)


def errors() -> str:
    """Return the types of errors by their HTTP status."""
    by_status: dict[int, list[str]] = {}
    for kind in get_args(Kind):
        by_status.setdefault(STATUS.get(kind, 400), []).append(f"`{kind}`")
    rows = [[str(status), ", ".join(kinds)] for status, kinds in sorted(by_status.items())]
    return table(["status", "`type`"], rows)


def models() -> str:
    """Return what MODEL can be, as ``archive.sh --help`` says it."""
    return f"```text\n{usages()}\n```"


def options() -> str:
    """Return the options of ``archive.sh``."""
    rows = []
    for action in parser()._actions:
        if isinstance(action, argparse._HelpAction) or not action.option_strings:
            continue
        takes = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
        rows.append([f"`{action.option_strings[0]} {takes}`", str(action.help)])
    return table(["option", "what it is"], rows)


def house() -> str:
    """Return every module, with what it says of itself in its first sentences; that of a package is its folder's."""
    rows = []
    for top in HOUSE:
        for path in sorted((ROOT / top).rglob("*.py"), key=lambda path: (path.parent, path.name)):
            said = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
            said = re.sub(r":\w+:`|``", "`", said)
            name = path.relative_to(ROOT)
            is_folder = path.name == "__init__.py"
            rows.append([f"**`{name.parent}/`**" if is_folder else f"`{name}`", said])
    return table(["file", "what it knows"], rows)


def results(name: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return what a table of a benchmark holds, and the machine it was measured on, of each kind of processor."""
    found = []
    for path in sorted(RESULTS.glob(f"{name.partition('-')[0]}.*.json"), reverse=True):
        content = json.loads(path.read_text())
        if content["tables"].get(name):
            found.append((content["machine"], content["tables"][name]))
    return found


def measured(name: str) -> str:
    """Return a table of a benchmark, for each kind of processor that it was run on."""
    parts = []
    for machine, rows in results(name):
        head = list(rows[0])
        parts += [f"{said_of(machine)}:", table(head, [[figure(row[column]) for column in head] for row in rows])]
    return "\n\n".join(parts) or "*Not run yet.*"


def said_of(machine: Mapping[str, Any]) -> str:
    """Return what a table was measured on."""
    known = ", ".join(name.replace("_", " ") for name in machine["instructions"])
    said = f"{machine['gpu']}, CUDA {machine['cuda']}" if "gpu" in machine else f"{machine['processor']} ({known})"
    if machine["limits"]:
        said += " limited by `" + " ".join(f"{name}={value}" for name, value in machine["limits"].items()) + "`"
    rest = [f"{machine['threads']} thread" + "s" * (machine["threads"] != 1), f"PyTorch {machine['torch']}"]
    if "load" in machine:
        rest.append(f"load {machine['load'][0]} at the start")
    if "rounds" in machine:
        rest.append(f"{machine['rounds']} round" + "s" * (machine["rounds"] != 1))
    if "date" in machine:
        rest.append(machine["date"])
    return f"{said}; {', '.join(rest)}"


def figure(value: object) -> str:
    """Return a figure as a table shows it; of several rounds the median, with the lowest and the highest."""
    if isinstance(value, dict):
        return f"{value['median']} ({value['low']}–{value['high']})"
    if value is None:
        return "–"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).replace("-", "−") if isinstance(value, int | float) else str(value)


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "fields": common_fields,
    **{f"fields-{name}": lambda kind=kind: fields_of(kind) for kind, name in KINDS.items()},  # type: ignore[misc]
    "formats": formats,
    "errors": errors,
    "models": models,
    "options": options,
    "house": house,
    **{name: lambda name=name: measured(name) for name in MEASURED},  # type: ignore[misc]
}


def filled(text: str) -> str:
    """Return a page with its tables as the code has them.

    Raises
    ------
    KeyError
        If it wants a table that there is not.
    """
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def described() -> str:
    """Return the predictions endpoints of the README's three archives as OpenAPI describes them."""
    names = ("intgrads", "shapes", "text")
    return json.dumps(openapi(dict(zip(names, KINDS, strict=True)), __version__), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the tables of every page and the description of the endpoints, and tell which files changed."""
    made = {page: filled(page.read_text()) for page in PAGES} | {OPENAPI: described()}
    for page, after in made.items():
        before = page.read_text() if page.is_file() else ""
        if after != before:
            page.write_text(after)
            print(page.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
