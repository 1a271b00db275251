"""A rule of any number of nodes tells its error, and what a tolerance is likely to cost."""

import numpy as np
import pytest
from intgrads import integrated_gradients
from intgrads.integral.quadrature import METHODS, Method
from shared.toys import small_network
from torch import rand


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_steps", range(2, 9))
def test_any_number_of_nodes_has_an_error_and_a_forecast(method: Method, n_steps: int) -> None:
    found = integrated_gradients(small_network(), rand(1, 3, 8, 10), target=0, n_steps=n_steps, method=method)
    assert np.isfinite(found.attribution_error).all()
    assert found.errors.evaluations_for(0.01) >= 1
