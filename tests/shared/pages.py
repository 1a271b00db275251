"""The pages of the documentation, and what stands in them: headings, links, tables, lines of a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of code of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def shell_lines(page: Path) -> list[str]:
    """Return the lines of a page's bash blocks, each as one line: without its comment, continued ones joined."""
    found: list[str] = []
    for block in blocks(page, "bash"):
        held = ""
        for raw in block.splitlines():
            held += re.sub(r"\s{2,}# .*$", "", raw).removesuffix("\\")
            try:
                complete = bool(shlex.split(held, comments=True)) and not raw.endswith("\\")
            except ValueError:  # a quotation that goes on
                complete = False
            if complete:
                found.append(" ".join(held.split()))
                held = ""
            elif held.strip().startswith("#"):
                held = ""
        assert not held.strip(), (page.name, held)
    return found


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """Return where a page's links and pictures go, but for those to other hosts."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<img src=\"([^\"]+)\"", text)
    return [target for target in found if not re.match(r"https?:", target)]


def table_rows(text: str, mark: str) -> list[list[str]]:
    """Return the rows of the first table after a mark, without its head."""
    lines = text[text.index(mark) + len(mark) :].lstrip("\n").splitlines()
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows[2:]


def names(cell: str) -> list[str]:
    """Return what stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)
