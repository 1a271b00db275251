"""All workers of a server compute alike: equal requests give equal bytes, whichever of them answers."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.serving.torchserve import TorchServe, free_ports
from intgrads.settings import Settings
from shared.archives import TINY
from shared.places import ROOT
from shared.serving import description, pids, post

pytestmark = pytest.mark.server

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    directory = tmp_path_factory.mktemp("workers")
    store = directory / "model_store"
    for name, operators in (("measured", "measured"), ("plain", "plain")):
        settings = Settings.model_validate({"input_size": "64,64", "threads": 1, "operators": operators})
        order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], settings)
        make_archive(order, name, workers=2, store=store)
    with TorchServe(directory, free_ports(5), ["measured.mar", "plain.mar"], store).running_until_left() as server:
        yield server


def test_equal_requests_give_equal_bytes(server: TorchServe) -> None:
    """TorchServe hands requests to its workers in turns; a worker that comes anew takes the same choice."""
    ask: dict[str, Any] = {"files": {"data": CAT}, "data": {"format": "npz", "n_steps": "10"}}
    answers = {post(server, "measured", **ask).content for _ in range(6)}
    before = pids(server, "measured")
    assert len(before) == 2
    killed = psutil.Process(min(before))
    killed.kill()
    killed.wait(timeout=60)
    while len(pids(server, "measured") - {killed.pid}) < 2:
        time.sleep(0.2)
    server.wait_until_ready()
    answers |= {post(server, "measured", **ask).content for _ in range(6)}
    assert len(answers) == 1


def test_the_choice_is_told_and_can_be_none(server: TorchServe) -> None:
    measured = description(server, "measured")
    assert measured["settings"]["operators"] == "measured"
    assert any(question.startswith("convolution") for question in measured["operators"])
    assert description(server, "measured")["operators"] == measured["operators"]
    assert description(server, "plain")["operators"] == {}
