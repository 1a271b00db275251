"""Draw the plots of the documentation from what benchmarks found: ``python scripts/docs_plots.py``.

``tests/documents/test_docs.py`` fails where a plot is not what this would draw.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLOT = ROOT / "docs" / "images" / "growth.svg"
COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3")


def growth() -> str:
    """Return how time and memory grow, one column of panels for each axis; on logarithmic scales, as SVG."""
    found = {path.name.split(".")[1]: json.loads(path.read_text()) for path in sorted(RESULTS.glob("growth.*.json"))}
    rows = {kind: content["tables"]["growth"] for kind, content in found.items()}
    axes = list(dict.fromkeys(row["axis"] for of_kind in rows.values() for row in of_kind))
    with mpl.rc_context({"svg.hashsalt": "intgrads", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(2 * max(len(axes), 1), 3.6), layout="constrained")
        panels = figure.subplots(2, max(len(axes), 1), squeeze=False)
        for column, axis in enumerate(axes):
            for panel, (name, unit) in zip(panels[:, column], (("seconds", "s"), ("MiB", "MiB")), strict=True):
                for colour, (kind, of_kind) in zip(COLOURS, rows.items(), strict=False):
                    points = [(row["size"], row[name]) for row in of_kind if row["axis"] == axis]
                    _draw(panel, points, colour, kind)
                panel.set_title(f"{axis}, {unit}")
        if len(rows) > 1:
            panels[0, 0].legend()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _draw(panel: Any, points: list[tuple[float, float]], colour: str, label: str) -> None:
    if not points:
        return
    sizes, values = zip(*points, strict=True)
    panel.loglog(sizes, values, "o-", color=colour, markersize=3, linewidth=1, label=label)
    # What linear growth from the last point would look like.
    panel.loglog(sizes, [values[-1] * size / sizes[-1] for size in sizes], ":", color="#888888", linewidth=0.8)
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.minorticks_off()


def main() -> int:
    """Write the plots, and tell which changed."""
    drawn = growth()
    if not PLOT.exists() or PLOT.read_text() != drawn:
        PLOT.write_text(drawn)
        print(PLOT.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
