"""A request passes its stations in order: what costs is done in time and before the integral, and refused before it."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import intgrads
import numpy as np
import pytest
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.pictures.objects import Objects
from intgrads.service import Service
from shared.toys import json_call, pixels, refused, small_network, small_service, told
from torch import Tensor, nn


class Counting(nn.Module):
    """A network that counts the points it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_network().eval().requires_grad_(False)
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        out: Tensor = self.inner(x)
        return out


class Finder:
    """Finds three objects in each corner of a picture, which takes as long as is said."""

    labels = small_service().network.labels

    def __init__(self, clock: SimpleNamespace | None = None, seconds: float = 0) -> None:
        self.clock, self.seconds, self.searches = clock, seconds, 0

    def find(self, picture: Picture, score_threshold: float, max_answer_mb: int, in_time: Any) -> Objects:  # noqa: ARG002
        self.searches += 1
        if self.clock is not None:
            self.clock.now += self.seconds
        in_time()
        masks = np.zeros((3, *picture.size), bool)
        masks[:, : picture.size[0] // 2, : picture.size[1] // 2] = True
        boxes, classes = np.zeros((3, 4), np.float32), np.arange(3)
        scores = np.array([0.9, 0.8, 0.7], np.float32)
        return Objects(masks, boxes, scores, classes, ["a", "b", "c"], score_threshold)


def beside(finder: Finder, **settings: Any) -> tuple[Service[ImageClassifier], Counting]:
    """Return a service of a classifier beside what finds objects, and its network, nothing of it counted yet."""
    network = Counting()
    service = small_service(network, **settings)
    toy = service.network
    service.network = ImageClassifier(toy.module, toy.picture, toy.labels, finder)
    network.rows = 0
    return service, network


def test_an_answer_too_large_for_its_masks_is_refused_before_it_is_integrated() -> None:
    service, network = beside(Finder(), max_answer_mb=1)
    ask = {"img_data": pixels(700, 700).tolist(), "n_steps": 5, "fields": ["pred_masks"]}
    reply = service.answer([json_call(**ask, format="gzip")])[0]
    assert refused(reply, 413, "the answer would take")["field"] == "fields"
    assert network.rows == 0


def test_what_is_too_large_by_itself_is_refused_before_anything_is_looked_for() -> None:
    finder = Finder()
    service, network = beside(finder, max_answer_mb=1)
    refused(service.answer([json_call(img_data=pixels().tolist(), n_steps=1000)])[0], 413, "the answer would take")
    assert (finder.searches, network.rows) == (0, 0)


def test_finding_objects_counts_towards_the_time_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    service, network = beside(Finder(clock, 50), response_timeout=60)
    ask = {"img_data": pixels().tolist(), "format": "json", "n_steps": 5}
    assert told(service.answer([json_call(**ask)])[0])["evaluations"] == 7
    network.rows = 0
    slow, _ = beside(Finder(clock, 70), response_timeout=60)
    slow.network = ImageClassifier(network, slow.network.picture, slow.network.labels, slow.network.finder)
    error = refused(slow.answer([json_call(**ask)])[0], 413, "not done within the 60 s")
    assert error["type"] == "TooMuchWork"
    assert network.rows == 0


def test_warnings_about_groups_depend_on_no_other_station(monkeypatch: pytest.MonkeyPatch) -> None:
    """They once came along only because the check of sizes had touched a cached property."""
    service = small_service()
    labels = np.zeros((16, 20), int)
    labels[:9] = 1
    ask = {"img_data": pixels(16, 20).tolist(), "groups": labels.tolist(), "format": "json", "n_steps": 5}
    monkeypatch.setattr(service, "_check", lambda _: None)
    warnings = told(service.answer([json_call(**ask)])[0])["warnings"]
    assert any("the groups were resized from 20 × 16" in warning for warning in warnings)


WITHOUT_TORCHSERVE = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        assert name.partition(".")[0] not in ("ts", "handler"), f"{name} was imported"
sys.meta_path.insert(0, Refuse())
from shared.toys import json_call, pixels, small_service, told
reply = small_service().answer([json_call(img_data=pixels().tolist(), format="json", groups="superpixels")])[0]
print(reply.status, told(reply)["evaluations"])
"""


def test_the_service_runs_without_torchserve() -> None:
    places = f"{Path(intgrads.__file__).parents[1]}:{Path(__file__).parent}"
    command = [sys.executable, "-c", WITHOUT_TORCHSERVE]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": places}, check=False)
    assert done.stdout.split() == ["200", "52"], done.stderr
