"""What a network's outputs are: classes, labels of which any may be true, or plain numbers; answers say which."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from intgrads.archives.archive import write_archive
from intgrads.errors import CheckpointError
from intgrads.labels import Labels
from intgrads.networks.family import Order
from intgrads.networks.sequence_classifiers import outputs_of
from intgrads.outputs import Outputs
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.transform import PictureSpec
from intgrads.service import Service
from intgrads.settings import Settings
from shared.html_pages import page_of
from shared.texts import prepared, saved, small_bert, small_bert_tokenizer
from shared.toys import json_call, pixels, told
from torch import Tensor, nn
from transformers import BertConfig


class Fixed(nn.Module):
    """f_c(x) = b_c + w_c mean(x)."""

    def __init__(self, *outputs: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(outputs))

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.arange(1.0, len(self.bias) + 1).to(x)
        return self.bias + 1e-3 * steps * x.flatten(1).mean(1, keepdim=True)


def service(outputs: Outputs, *logits: float) -> Service[ImageClassifier]:
    labels = Labels([f"l{k}" for k in range(len(logits))])
    network = ImageClassifier(Fixed(*logits).eval().requires_grad_(False), PictureSpec(4, 4), labels, outputs=outputs)
    return Service("toy", network, Settings(threads=1, n_steps=2), torch.device("cpu"))


def answer(outputs: Outputs, *logits: float, **options: Any) -> Any:
    picture = pixels(4, 5).tolist()
    return told(service(outputs, *logits).answer([json_call(img_data=picture, format="json", **options)])[0])


def page(outputs: Outputs, *logits: float) -> str:
    reply = service(outputs, *logits).answer([json_call(img_data=pixels(4, 5).tolist(), format="html")])[0]
    return page_of(reply).text


def test_of_classes_one_is_true() -> None:
    found = answer("softmax", 0.0, 2.0, 1.0)
    assert found["outputs"] == "softmax"
    assert found["predicted_labels"] == ["l1"]
    assert sum(one["probability"] for one in found["top"]) == pytest.approx(1)
    assert "l1, probability 0.6" in page("softmax", 0.0, 2.0, 1.0)


def test_of_labels_any_number_is_true() -> None:
    found = answer("sigmoid", 3.0, -2.0, 1.0)
    assert found["predicted_labels"] == ["l0", "l2"]
    logits = np.array([one["logit"] for one in found["top"]])
    np.testing.assert_allclose([one["probability"] for one in found["top"]], 1 / (1 + np.exp(-logits)), rtol=1e-6)
    assert found["target_class"] == 0
    assert found["target_score"] == found["top"][0]["probability"]
    assert answer("sigmoid", -3.0, -2.0)["predicted_labels"] == []
    assert "l0 0.95" in page("sigmoid", 3.0, -2.0, 1.0)
    assert "labels of a probability of 0.5 or more: none" in page("sigmoid", -3.0, -2.0)


def test_plain_numbers_have_no_probabilities() -> None:
    found = answer("none", 3.5)
    assert (found["prediction"]["probability"], found["target_score"], found["predicted_labels"]) == (None, None, [])
    assert found["target_output"] == found["prediction"]["logit"] == pytest.approx(3.5, abs=0.01)
    assert not [warning for warning in found["warnings"] if "target_class" in warning]
    assert "probability" not in page("none", 3.5)
    assert "l0 3.5" in page("none", 3.5)


def test_the_largest_of_several_numbers_is_attributed_with_a_warning() -> None:
    warned = [warning for warning in answer("none", 1.0, 2.0)["warnings"] if "target_class was not sent" in warning]
    assert len(warned) == 1
    assert not [w for w in answer("none", 1.0, 2.0, target_class=0)["warnings"] if "target_class" in w]


@pytest.mark.parametrize("outputs", ["sigmoid", "none"])
def test_the_attribution_is_of_the_output_itself(outputs: Outputs) -> None:
    """The same numbers as of a softmax, whatever the outputs stand for."""
    found = answer(outputs, 0.5, 2.0, target_class=[0, 1], fields=["integrated_grads"])
    assert (
        found["integrated_grads"]
        == answer("softmax", 0.5, 2.0, target_class=[0, 1], fields=["integrated_grads"])["integrated_grads"]
    )
    assert len(found["target_output"]) == 2


@pytest.mark.parametrize(
    ("options", "outputs"),
    [
        ({"num_labels": 3}, "softmax"),
        ({"num_labels": 1}, "none"),
        ({"num_labels": 3, "problem_type": "regression"}, "none"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, "sigmoid"),
        ({"num_labels": 2, "problem_type": "single_label_classification"}, "softmax"),
    ],
)
def test_transformers_configuration_says_what_they_are(options: dict[str, Any], outputs: Outputs) -> None:
    assert outputs_of(BertConfig(**options)) == outputs


def test_a_folder_of_several_labels_is_archived_as_that(tmp_path: Path) -> None:
    model = small_bert(problem_type="multi_label_classification")
    folder = saved(tmp_path / "saved", model, small_bert_tokenizer())
    assert prepared(folder).outputs == "sigmoid"
    write_archive(Order(f"hf:{folder}", None, None, Settings()), tmp_path)
    loaded = Service.load(tmp_path, torch.device("cpu"))
    assert loaded.describe()["outputs"] == "sigmoid"
    write_archive(Order(f"hf:{folder}", None, None, Settings(outputs="none")), tmp_path)
    assert Service.load(tmp_path, torch.device("cpu")).network.outputs == "none"


def test_a_single_output_is_a_number_unless_it_is_called_a_logit(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet10t", num_classes=1).state_dict(), tmp_path / "w.pth")

    def archived(**settings: Any) -> Outputs:
        write_archive(Order("timm:resnet10t", tmp_path / "w.pth", ["age"], Settings(**settings)), tmp_path)
        return Service.load(tmp_path, torch.device("cpu")).network.outputs

    assert archived() == "none"
    assert archived(outputs="sigmoid") == "sigmoid"
    with pytest.raises(CheckpointError, match="softmax of a single output is 1"):
        archived(outputs="softmax")


@pytest.mark.parametrize(("logits", "field"), [((float("nan"), 1.0), "img_data"), ((float("inf"), 1.0), "img_data")])
def test_outputs_that_are_not_finite_are_told(logits: tuple[float, ...], field: str) -> None:
    found = answer("softmax", *logits)
    assert (found["code"], found["type"], found["field"]) == (422, "NotFinite", field)
    assert "outputs are not finite" in found["message"]


@pytest.mark.parametrize("count", [2, 5, 17, 100])
@pytest.mark.parametrize("outputs", ["softmax", "sigmoid"])
def test_of_equal_outputs_the_first_is_the_prediction_everywhere(outputs: Outputs, count: int) -> None:
    class Tied(Fixed):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).mean(1, keepdim=True).expand(-1, len(self.bias)) + 1

    told_service = service(outputs, *[0.0] * count)
    told_service.network = replace(told_service.network, module=Tied(*[0.0] * count).requires_grad_(False))
    found = told(told_service.answer([json_call(img_data=pixels(4, 5).tolist(), format="json")])[0])
    assert (found["prediction"]["index"], found["target_class"], found["predicted_labels"][0]) == (0, 0, "l0")
    assert [one["index"] for one in found["top"]] == list(range(min(5, count)))
