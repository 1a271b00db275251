"""The page of one answer or several: one HTML file without scripts or outside resources."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
body { font: 16px/1.6 sans-serif; color: #111; background: #fff; max-width: 60em; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.3em } h2 { font-size: 1.1em; margin-top: 2em }
.text { font-size: 1.25em; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere }
.tokens { font: 13px/2.2 monospace; overflow-wrap: anywhere }
.key { font-size: 13px }
.text span, .tokens span { background-image: linear-gradient(#000, #000) !important;
  background-repeat: no-repeat !important; background-position: 0 100% !important;
  background-size: var(--error, 0) 2px !important }
.curves { width: 300px; max-width: 100%; font-size: 11px }
.whisker { width: 120px; height: 14px; vertical-align: middle }
.text span, .tokens span, .key span { border-radius: 3px; padding: 2px 1px }
.tokens span, .key span { margin-right: 5px; padding: 2px 3px; border: 1px solid #ddd }
.phrases { font-size: 1.1em; line-height: 1.6; white-space: pre-wrap; overflow-wrap: anywhere }
.phrases span { display: inline-block; border: 1px solid #555; border-radius: 4px; padding: 2px 5px; margin: 1px }
.cut { color: #999 }
table { margin-top: 1em } .groups td, .groups th { padding: 1px 1em 1px 0 }
.groups th:nth-child(n+3) { text-align: right } .number { text-align: right; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: normal; color: #555; padding-right: 2em; vertical-align: top }
.note { color: #7a4b00 }
figure { display: inline-block; margin: 0 1em 1em 0 } img { max-width: 100% }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(model: str, answers: Sequence[str]) -> str:
    """Return the page of one answer or several."""
    body = "\n<hr>\n".join(answers)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(model)}: attributions</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(model)}</h1>\n{body}\n</body></html>\n"
    )
