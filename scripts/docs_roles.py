"""What mkdocstrings shows of our docstrings: Sphinx's roles and formulas, which Markdown does not know, as code."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

import griffe


class Roles(griffe.Extension):
    """Turns ``:class:`x``` into ``x``, and a formula into its LaTeX as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002
        """Change an object's docstring as it is read."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(text: str) -> str:
    """Return a docstring in Markdown."""
    text = re.sub(r":(?:class|meth|mod|func|data|attr|math):(?=`)", "", text)
    text = re.sub(
        r"^\.\. math:: (.*(?:\n[ \t]+\S.*)*)",
        lambda formula: indent("\n".join(line.strip() for line in formula[1].splitlines()), "    "),
        text,
        flags=re.MULTILINE,
    )
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)
