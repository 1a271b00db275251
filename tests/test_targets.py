"""Which output is attributed: by label, synonym, index, list, or the network's own prediction."""

from typing import Any

import numpy as np
import pytest
import torch
from intgrads import integrated_gradients
from intgrads.errors import RequestError
from intgrads.labels import Labels
from shared.toys import LABELS, call, encoded, json_call, pixels, small_network, small_service, told

IMAGENET_LIKE = Labels([f"catalpa {i}" for i in range(30)] + ["tabby, tabby cat", "tiger cat"])


@pytest.mark.parametrize("target", ["tabby, tabby cat", "tabby cat", "TABBY", " tabby ", 0, "0"])
def test_one_class_by_any_of_its_names(target: Any) -> None:
    assert Labels(LABELS).resolve(target) == 0


def test_an_ambiguous_name_asks_for_an_index() -> None:
    with pytest.raises(RequestError, match="indices 1, 2"):
        Labels(LABELS).resolve("crane")


@pytest.mark.parametrize("target", [-1, 3, 10**30, "-1", "3"])
def test_an_index_out_of_range_names_the_range(target: Any) -> None:
    with pytest.raises(RequestError, match="0 to 2"):
        Labels(LABELS).resolve(target)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (-1, ValueError, "outputs 0 to 2"),
        (3, ValueError, "outputs 0 to 2"),
        ([0, 3], ValueError, "outputs 0 to 2"),
        ([], ValueError, "no target"),
        (1.5, TypeError, "integer"),
        ([1.5], TypeError, "integer"),
        ("a", TypeError, "integer"),
    ],
)
def test_a_notebook_is_told_too(target: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        integrated_gradients(small_network(), torch.rand(1, 3, 8, 10), target=target)


@pytest.mark.parametrize(
    ("target", "targets"),
    [(2, (2,)), (torch.tensor(2), (2,)), (np.int64(2), (2,)), (torch.tensor([2, 0]), (2, 0)), (range(2), (0, 1))],
)
def test_a_notebook_names_targets_as_it_likes(target: Any, targets: tuple[int, ...]) -> None:
    assert integrated_gradients(small_network(), torch.rand(1, 3, 8, 10), target=target).targets == targets


def test_a_network_without_classes_is_refused() -> None:
    class One(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum((1, 2, 3))

    with pytest.raises(ValueError, match=r"logits \(B, C\)"):
        integrated_gradients(One(), torch.rand(1, 3, 8, 10))


def test_an_unknown_label_gets_the_closest_ones() -> None:
    with pytest.raises(RequestError, match=r"tabby cat.*tiger cat") as error:
        IMAGENET_LIKE.resolve("cat")
    assert error.value.field == "target_class"
    assert str(error.value).index("tiger cat") < str(error.value).index("catalpa")
    with pytest.raises(RequestError, match="tiger cat"):
        IMAGENET_LIKE.resolve("tigr cat")


def test_few_labels_are_all_listed() -> None:
    with pytest.raises(RequestError, match="tabby, tabby cat, crane, crane"):
        Labels(LABELS).resolve("dog")


def test_the_default_is_the_predicted_class() -> None:
    service = small_service()
    answer = told(service.answer([json_call(img_data=pixels().tolist(), format="json")])[0])
    x = service.network.picture.normalise(pixels())[None]
    assert answer["target_class"] == answer["prediction"]["index"] == int(service.network.module(x).argmax())
    assert answer["target_label"] == LABELS[answer["target_class"]]


def test_several_targets_add_a_leading_axis_and_equal_single_ones() -> None:
    service = small_service()
    ask = {"img_data": pixels().tolist(), "format": "json", "n_steps": 4, "fields": ["integrated_grads", "alphas"]}
    several = told(service.answer([json_call(target_class=[2, "tabby"], **ask)])[0])
    assert several["target_class"] == [2, 0]
    assert len(several["convergence_delta"]) == len(several["converged"]) == 2
    assert torch.tensor(several["integrated_grads"]).shape == (2, 1, 3, 8, 10)
    assert torch.tensor(several["alphas"]).shape == (4, 1)
    for k, target in enumerate((2, 0)):
        single = told(service.answer([json_call(target_class=target, **ask)])[0])
        assert single["convergence_delta"] == pytest.approx(several["convergence_delta"][k], abs=1e-6)
        torch.testing.assert_close(
            torch.tensor(several["integrated_grads"][k]), torch.tensor(single["integrated_grads"]), rtol=1e-4, atol=1e-7
        )
    one = told(service.answer([json_call(target_class=[2], **ask)])[0])
    assert torch.tensor(one["integrated_grads"]).shape == (1, 1, 3, 8, 10)


def test_a_list_in_a_form_is_its_json_text() -> None:
    answer = told(small_service().answer([call(data=encoded(pixels()), format="json", target_class='[2, "tabby"]')])[0])
    assert answer["target_class"] == [2, 0]
