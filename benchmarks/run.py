"""Every benchmark: ``.venv/bin/python benchmarks/run.py NAME…|all``.

Each states the machine, writes ``benchmarks/results/NAME.PROCESSOR.json``, and the docs' tables and plots are made of
those. ``--isa avx2`` measures in a process in which newer instructions are not used, as on a processor without them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("handler", "scripts", "training", "tests")]

import torch  # noqa: E402
from machine import LIMITS, conditions  # noqa: E402
from measures import NAMES, ON_A_GPU  # noqa: E402
from options import Options, Row, Tables  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("names", nargs="+", choices=(*NAMES, "all"), metavar="NAME", help=f"{', '.join(NAMES)}, or all")
    parse.add_argument("--threads", type=int, default=1, help="CPU threads; default 1")
    parse.add_argument("--rounds", type=int, default=5, help="rounds in which the ways alternate; default 5")
    parse.add_argument("--device", default="cpu", help="cpu or cuda; default cpu")
    parse.add_argument("--isa", choices=tuple(LIMITS), help="use no newer instructions than these")
    parse.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases with one of these words alone")
    parse.add_argument("--tiny", action="store_true", help="the smallest cases, to see that it runs; writes nothing")
    return parse


def main() -> int:
    """Measure, write and print what was found."""
    given = parser().parse_args()
    limits = LIMITS.get(given.isa, {})
    if any(os.environ.get(name) != value for name, value in limits.items()):
        # The libraries read their limits as they are loaded, so a process of its own.
        return subprocess.run([sys.executable, *sys.argv], env={**os.environ, **limits}, check=False).returncode
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    if device.type == "cuda":
        exact_float32()
    options = Options(device, given.threads, given.rounds, given.tiny, tuple(given.only))
    everything = ON_A_GPU if device.type == "cuda" else [name for name in NAMES if name != "gpu"]
    names = everything if "all" in given.names else given.names
    failed = []
    for name in names:
        machine = conditions(options)
        print(f"{name}: {json.dumps(machine)}", flush=True)
        started = time.monotonic()
        try:
            tables: Tables = importlib.import_module(f"measures.{name}").measure(options)
        except Exception as error:
            # One that cannot run here (no detectron2, no Java) does not keep the others from running.
            if len(names) == 1:
                raise
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        if not options.tiny:
            write(name, machine, tables, bool(options.only))
    if not given.tiny:
        for script in ("docs_tables.py", "docs_plots.py"):
            subprocess.run([sys.executable, str(ROOT / "scripts" / script)], check=True)
    return 1 if failed else 0


def exact_float32() -> None:
    """Round no float32 to TF32, as handler.py sees to in a server."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def write(name: str, machine: Row, tables: Tables, part: bool) -> None:
    """Write what a benchmark found; where a part of its cases was measured, the others' rows stay as they are."""
    path = RESULTS / f"{name}.{machine['kind']}.json"
    if part and path.exists():
        kept: Tables = json.loads(path.read_text())["tables"]
        tables = kept | {table: _with(kept.get(table, []), rows) for table, rows in tables.items()}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "tables": tables}, indent=1, ensure_ascii=False) + "\n")


def _with(kept: list[Row], rows: list[Row]) -> list[Row]:
    """Return old rows with new ones in the place of those that begin as they do."""
    names = [next(iter(row.values())) for row in rows]
    old = [next(iter(row.values())) for row in kept]
    at = next((place for place, name in enumerate(old) if name in names), len(kept))
    left = [(place, row) for place, (row, name) in enumerate(zip(kept, old, strict=True)) if name not in names]
    return [row for place, row in left if place < at] + rows + [row for place, row in left if place > at]


if __name__ == "__main__":
    sys.exit(main())
