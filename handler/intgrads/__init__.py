"""intgrads: attributions of PyTorch networks, with every step's gradient and the error of the integral.

The attribution core runs by itself, in a notebook as in the server::

    from intgrads import integrated_gradients

    result = integrated_gradients(network, x, baseline, target=3, n_steps=50)
    result.integrated_gradients, result.convergence_delta
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intgrads.integral.attribution import Attribution
    from intgrads.integral.functionals import Contrast, Logit, LogOdds, LogProbability, Probability
    from intgrads.integral.groups import GroupValues, group_values
    from intgrads.integral.integrated_gradients import integrated_gradients
    from intgrads.integral.quadrature import METHODS, Rule, quadrature

__version__ = "0.2.0"
__all__ = [
    "METHODS",
    "Attribution",
    "Contrast",
    "GroupValues",
    "LogOdds",
    "LogProbability",
    "Logit",
    "Probability",
    "Rule",
    "group_values",
    "integrated_gradients",
    "quadrature",
]

_PLACES = {
    "METHODS": "quadrature",
    "Attribution": "attribution",
    "Contrast": "functionals",
    "GroupValues": "groups",
    "LogOdds": "functionals",
    "LogProbability": "functionals",
    "Logit": "functionals",
    "Probability": "functionals",
    "Rule": "quadrature",
    "group_values": "groups",
    "integrated_gradients": "integrated_gradients",
    "quadrature": "quadrature",
}


def __getattr__(name: str) -> Any:
    """Import a part of the core when it is first asked for: PyTorch takes seconds, and much here does without."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"intgrads.integral.{_PLACES[name]}"), name)
