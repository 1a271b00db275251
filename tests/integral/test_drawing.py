"""An attribution of the core draws itself: pixels as a map, tokens and features as bars, all on one scale."""

import numpy as np
import pytest
import torch
from intgrads import integrated_gradients
from intgrads.integral.drawing import draw
from shared.toys import Linear, small_network
from torch import nn


def test_a_picture_is_a_map_for_each_target() -> None:
    x = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    result = integrated_gradients(small_network(), x, target=[0, 2], n_steps=3)
    figure = result.plot()
    assert [axes.get_title() for axes in figure.axes] == ["target 0", "target 2"]
    limits = {axes.images[0].get_clim() for axes in figure.axes}
    assert len(limits) == 1
    for axes, own in zip(figure.axes, result.integrated_gradients, strict=True):
        np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), own.double().sum(0))


def test_features_are_bars_and_so_are_tokens_with_names() -> None:
    x = torch.arange(1.0, 7.0)[None]
    (axes,) = integrated_gradients(Linear(6), x, target=1, n_steps=2).plot(list("abcdef")).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list("abcdef")
    tokens = torch.randn(1, 4, 5)
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 3))
    result = integrated_gradients(network, tokens, target=0, n_steps=2)
    (axes,) = result.plot(["It", "is", "not", "$good$"]).axes
    assert axes.get_yticklabels()[3].get_text() == r"\$good\$"
    assert len(result.plot().axes[0].images) == 1  # without names it is a plane


def test_a_notebook_shows_it_as_it_is() -> None:
    figure = integrated_gradients(Linear(6), torch.ones(1, 6), target=1, n_steps=2).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_what_has_no_place_on_paper_is_refused() -> None:
    with pytest.raises(ValueError, match="can be drawn"):
        draw(np.zeros((1, 2, 3, 4)), ["a"])
