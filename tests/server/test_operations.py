"""What whoever runs a server sees: metrics, a line in the log for each request, and whether an archive can answer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ready
import requests
import yaml
from intgrads.serving.torchserve import TorchServe
from shared.places import EXAMPLES, ROOT
from shared.serving import post

pytestmark = pytest.mark.server

CAT = (EXAMPLES / "cat.jpg").read_bytes()


def metrics(server: TorchServe) -> dict[str, float]:
    """Return each line of the metrics: its name and labels, and its figure."""
    text = requests.get(f"http://127.0.0.1:{server.ports['metrics_address']}/metrics", timeout=60).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(figure) for name, figure in lines}


def total(found: dict[str, float], name: str, *labels: str) -> float:
    return sum(figure for line, figure in found.items() if line.startswith(name) and all(x in line for x in labels))


def ask(server: TorchServe, **form: str) -> requests.Response:
    return post(server, "batches", files={"data": CAT} | {name: (None, text) for name, text in form.items()})


def test_requests_are_counted_by_their_outcome(torchserve: TorchServe) -> None:
    before = metrics(torchserve)
    answers = [ask(torchserve, n_steps="3", format="json") for _ in range(2)]
    refused = ask(torchserve, n_steps="none")
    assert [answer.status_code for answer in [*answers, refused]] == [200, 200, 400]
    after = metrics(torchserve)

    def grown(name: str, *labels: str) -> float:
        return total(after, name, 'ModelName="batches"', *labels) - total(before, name, 'ModelName="batches"', *labels)

    assert grown("intgrads_requests_total", 'Outcome="answered"', 'Format="json"') == 2
    assert grown("intgrads_requests_total", 'Outcome="BadRequest"') == 1
    assert grown("intgrads_answer_bytes_total") == sum(len(answer.content) for answer in [*answers, refused])
    assert grown("intgrads_evaluations_total") == sum(answer.json()["evaluations"] for answer in answers)
    for histogram in ("computing_seconds", "encoding_seconds", "attribution_error"):
        assert grown(f"intgrads_{histogram}_count") == 2
    assert grown("intgrads_request_seconds_count") == 3
    error = answers[0].json()["attribution_error"]
    assert grown("intgrads_attribution_error_sum") == pytest.approx(2 * error, rel=1e-3)
    assert total(after, "intgrads_worker_memory_bytes", 'ModelName="batches"') > 1e8


def test_the_dashboard_shows_metrics_that_there_are(torchserve: TorchServe) -> None:
    ask(torchserve, n_steps="3", format="json")
    there = {re.split(r"[{ ]", line)[0] for line in metrics(torchserve)}
    listed = yaml.safe_load((ROOT / "metrics.yaml").read_text())
    ours = {metric["name"] for of_kind in listed["model_metrics"].values() for metric in of_kind}
    shown: set[str] = set()
    for panel in json.loads((ROOT / "monitoring" / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            shown |= set(re.findall(r"\b(?:intgrads|ts)_\w+", target["expr"]))
    assert shown <= there
    assert {name for name in ours if name.startswith("intgrads_")} <= {name.removesuffix("_bucket") for name in shown}


def test_each_request_has_a_line_in_the_log_under_its_id(torchserve: TorchServe) -> None:
    secret = "nothing-of-this-is-logged"
    good = ask(torchserve, n_steps="3", format="json")
    bad = ask(torchserve, n_steps=secret)
    log = torchserve.log("model_log.log")
    accounts: dict[str, Any] = dict(re.findall(r"request (\S+): (\{.*\})", log))
    told = {reply: json.loads(accounts[reply.headers["x-request-id"]]) for reply in (good, bad)}
    assert told[good]["outcome"] == "answered"
    assert told[good]["size"] == len(good.content)
    assert told[good]["evaluations"] == good.json()["evaluations"]
    assert told[bad]["outcome"] == bad.json()["type"]
    assert secret not in log


def test_whether_an_archive_can_answer(torchserve: TorchServe, capsys: pytest.CaptureFixture[str]) -> None:
    """TorchServe says READY of the damaged one too."""
    url = ["--management", torchserve.management_url]
    assert torchserve.workers("damaged")[0]["status"] == "READY"
    assert ready.main(["batches", "text", *url]) == 0
    assert ready.main(["batches", "damaged", *url]) == 1
    assert ready.main(["damaged", "--busy", *url]) == 1
    assert ready.main(url) == 1  # of all that are served
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["batches: ready", "text: ready", "batches: ready"]
    assert "what" in lines[3]
    assert {"batches: ready", "text: ready"} <= set(lines[5:])


def test_no_server_and_no_archive_are_not_ready(torchserve: TorchServe, capsys: pytest.CaptureFixture[str]) -> None:
    assert ready.main(["nothing", "--management", torchserve.management_url]) == 1
    assert ready.main(["batches", "--management", "http://127.0.0.1:9"]) == 1
    assert "404" in (told := capsys.readouterr().out)
    assert "does not answer" in told


def test_both_configurations_tell_prometheus() -> None:
    for name in ("config.properties", "config.remote.properties"):
        text = (ROOT / name).read_text()
        assert "\nmetrics_mode=prometheus\n" in text
        (listed,) = re.findall(r"(?m)^metrics_config=(.*)$", text)
        assert Path(ROOT / listed).is_file()
