"""What saturates: on how many steps of a path the gradient nearly vanishes, by what is attributed.

The predicted class of real inputs of the demo networks, from black or the padding token, 50 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, median

import ways
from inputs import inputs
from intgrads import Logit, LogOdds, LogProbability, Probability, integrated_gradients
from intgrads.integral.functionals import OfTarget
from options import Options, Row, Tables

STEPS = 50
VANISHED = 0.01
"""A gradient whose norm is below this part of the largest on its path adds next to nothing to the map."""

ATTRIBUTED: Mapping[str, OfTarget] = {
    "`logit`": Logit,
    "`against=rest`": LogOdds,
    "`log_probability`": LogProbability,
    "`probability`": Probability,
}


def measure(options: Options) -> Tables:
    """Return the rows of the table, a network and what is attributed of it each."""
    rows: list[Row] = []
    for model in ("demo-image", "demo-text"):
        if options.wants(model):
            rows += of_network(model, options)
    return {"saturation": rows}


def of_network(model: str, options: Options) -> list[Row]:
    """Return the rows of a demo network."""
    cases = list(inputs(model, 1 if options.tiny else 10, options.device))
    rows: list[Row] = []
    for name, of in ATTRIBUTED.items():
        vanished, errors = [], []
        for case in cases:
            found = integrated_gradients(
                case.forward,
                case.x,
                case.baseline,
                n_steps=4 if options.tiny else STEPS,
                chunk_rows=ways.rows_at_once(case.forward, case.x),
                of=of,
            )
            assert found.gradients is not None
            norms = found.gradients[0].flatten(1).norm(dim=1)
            vanished.append(100 * float((norms < VANISHED * norms.max()).double().mean()))
            errors.append(100 * float(found.attribution_error[0]))
        rows.append(
            {
                "network": model,
                "attributed": name,
                "steps that nearly vanish, %: mean": round(fmean(vanished), 1),
                "of one input at most": round(max(vanished), 1),
                "error of the map, %: median": round(median(errors), 1),
                "inputs": len(cases),
            }
        )
    return rows
