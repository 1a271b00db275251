"""Pages: one HTML file each that asks for nothing outside, opened from anywhere.

What a caller sent is escaped by the templates, or is data that the script reads as JSON. The policy in the page lets
run the one script that is written here, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _resource(name: str) -> tuple[str, str]:
    """Return a style sheet or a script, and its hash as a policy names it."""
    text = (HERE / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return text, f"'sha256-{digest}'"


def _rendered(template: str, **context: Any) -> str:
    text: str = _templates().get_template(template).render(**context)
    return text


def _document(template: str, model: str, sources: str, **context: Any) -> str:
    """Return a page whose policy allows our style, some other sources, and nothing else."""
    style, style_hash = _resource("page.css")
    policy = f"default-src 'none'; style-src {style_hash}; {sources}; base-uri 'none'; form-action 'none'"
    return _rendered(template, model=model, style=style, policy=policy, **context)


def page(model: str, answers: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of one answer or several.

    Parameters
    ----------
    model : str
    answers : sequence of mapping
        What ``templates/answer.html`` writes of each.
    """
    script, script_hash = _resource("page.js")
    sources = f"script-src {script_hash}; img-src data: blob:"
    return _document("page.html", model, sources, answers=answers, script=script)


def result(drawing: str | None, figures: Sequence[tuple[str, str]], warnings: Sequence[str]) -> str:
    """Return what a notebook shows of an answer.

    Parameters
    ----------
    drawing : str or None
        A PNG in base64.
    figures : sequence of (str, str)
        Names and values.
    warnings : sequence of str
    """
    return _rendered("result.html", drawing=drawing, figures=figures, warnings=warnings)


def still_page(model: str, drawing: str | None, figures: Sequence[tuple[str, str]], warnings: Sequence[str]) -> str:
    """Return the same as a page without a script."""
    shown = {"drawing": drawing, "figures": figures, "warnings": warnings}
    return _document("still.html", model, "img-src data:", **shown)


def report_page(
    model: str,
    facts: Sequence[tuple[str, str]],
    *,
    bars: Sequence[tuple[str, int, float]],
    worst: Sequence[tuple[int, str, str, str | None]],
    failures: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> str:
    """Return the page about a run over a data set.

    Parameters
    ----------
    model : str
    facts : sequence of (str, str)
        Names and values.
    bars : sequence of (str, int, float)
        Ranges of errors, how many inputs lie in each, and the width of its bar, 0 to 100.
    worst : sequence of (int, str, str, str or None)
        Row, id, error, and where its page lies.
    failures : sequence of mapping
        ``type``, ``count``, and ``id`` and ``message`` of an example.
    notes : sequence of str
    """
    shown = {"facts": facts, "bars": bars, "worst": worst, "failures": failures, "notes": notes}
    return _document("report.html", model, "img-src data:", rows=facts[0][1], **shown)
