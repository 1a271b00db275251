"""intgrads: attributions of PyTorch networks, with every step's gradient and the error of the integral.

The attribution core runs by itself, in a notebook as in the server::

    from intgrads import integrated_gradients

    result = integrated_gradients(network, x, baseline, target=3, n_steps=50)
    result.integrated_gradients, result.convergence_delta
"""

from intgrads.attribution import Attribution, integrated_gradients
from intgrads.quadrature import METHODS, Rule, quadrature

__version__ = "0.1.0"
__all__ = ["METHODS", "Attribution", "Rule", "integrated_gradients", "quadrature"]
