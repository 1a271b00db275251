"""The demo network of text says what its results state, and its words show a negation and a "but"."""

import json
from typing import Any

import pytest
import torch
from intgrads.archives.archive import write_archive
from intgrads.networks.demo_text import TRAINED
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.settings import Settings
from safetensors.torch import load_file
from shared.places import ROOT
from shared.toys import json_call, told

TRAINING = ROOT / "training"
NEGATION = (ROOT / "examples" / "negation.txt").read_text().strip()
BUT = (ROOT / "examples" / "but.txt").read_text().strip()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Service[Any]:
    folder = tmp_path_factory.mktemp("demo")
    write_archive(Order("demo-text", None, None, Settings()), folder)
    return Service.load(folder, torch.device("cpu"))


def scores(service: Service[Any], text: str) -> tuple[dict[str, Any], dict[str, float]]:
    answer = told(service.answer([json_call(sequence=text, format="json", target_class="positive")])[0])
    assert answer["converged"]
    return answer, dict(zip(answer["words"], answer["word_scores"], strict=True))


def test_a_negation_is_seen_and_its_word_weighs_most(demo: Service[Any]) -> None:
    """'not' speaks against, 'good' for, and without 'not' the sentence is positive."""
    answer, words = scores(demo, NEGATION)
    assert answer["prediction"]["label"] == "negative"
    assert min(words, key=words.__getitem__) == "not"
    assert words["not"] < -0.5 < 0 < words["good"]
    assert max(map(abs, words.values())) == -words["not"]
    assert scores(demo, NEGATION.replace("not ", ""))[0]["prediction"]["label"] == "positive"


def test_what_follows_a_but_decides(demo: Service[Any]) -> None:
    answer, words = scores(demo, BUT)
    assert answer["prediction"]["label"] == "positive"
    assert max(words, key=words.__getitem__) == "loved"
    assert words["slow"] < 0 < words["loved"]
    turned = "I loved every minute of it, but the film is slow."
    assert scores(demo, turned)[0]["prediction"]["probability"] < answer["prediction"]["probability"]


def test_the_committed_weights_are_what_was_trained_in_half_precision() -> None:
    weights = load_file(TRAINED)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert {name.split(".layer.")[-1].split(".")[0] for name in weights if ".layer." in name} == {"4", "5"}
    assert "classifier.weight" in weights


def test_the_split_and_the_results_fit_each_other_and_the_docs() -> None:
    split = json.loads((TRAINING / "demo_text.split.json").read_text())
    results = json.loads((TRAINING / "demo_text.results.json").read_text())
    page = (ROOT / "docs" / "text.md").read_text()
    for source in ("movies", "products", "tweets"):
        assert not set(split["held_out"][source]) & set(split["validation"][source])
        found = results["held_out"][source]
        assert len(split["held_out"][source]) == found["sentences"]
        assert found["accuracy"] >= results["in_float32"][source]["accuracy"] - 0.002
        row = f"| {source} | {found['sentences']:,} | {found['accuracy']:.1%} | {found['accuracy_beyond_0.5']:.1%} |"
        assert row.replace("%", " %") in page
