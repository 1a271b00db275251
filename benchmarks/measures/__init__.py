"""The benchmarks, a module each, under the names that ``benchmarks/run.py`` takes.

Each has ``measure(options)``, which returns the tables that it fills: their rows, by their names in the docs.
"""

NAMES = (
    "speed", "precision", "equal_error", "map_error", "saturation", "growth", "server", "soak", "faithfulness",
    "tensormask", "ray_serve", "bulk", "gpu",
)  # fmt: skip
"""In the order of ``run.py all``, which leaves ``gpu`` out on a CPU."""

ON_A_GPU = ("gpu", "speed", "precision", "equal_error", "growth")
"""Those of ``run.py all --device cuda``."""
