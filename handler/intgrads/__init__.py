"""intgrads: attributions of PyTorch networks, with every step's gradient and the error of the integral.

The attribution core runs by itself, in a notebook as in the server::

    from intgrads import integrated_gradients

    result = integrated_gradients(network, x, baseline, target=3, n_steps=50)
    result.integrated_gradients, result.convergence_delta
"""

from typing import TYPE_CHECKING, Any

from intgrads.quadrature import METHODS, Rule, quadrature

if TYPE_CHECKING:
    from intgrads.attribution import Attribution, integrated_gradients

__version__ = "0.1.0"
__all__ = ["METHODS", "Attribution", "Rule", "integrated_gradients", "quadrature"]


def __getattr__(name: str) -> Any:
    """Import the core when it is first asked for: PyTorch takes seconds, and ``archive.sh --help`` does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from intgrads import attribution

    return getattr(attribution, name)
