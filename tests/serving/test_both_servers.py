"""TorchServe and Ray Serve answer alike: the same archives, the same requests, the same statuses, types and bytes."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from intgrads.archives.archiver import make_archive
from intgrads.client.result import Result
from intgrads.networks.family import Order
from intgrads.serving.torchserve import TorchServe, free_ports
from intgrads.settings import Settings
from safetensors.numpy import load_file
from shared import bad_requests, bad_texts
from shared.archives import TINY, rewrite
from shared.bulk import bulk, results
from shared.faults import wait_until, wait_until_computing
from shared.places import EXAMPLES
from shared.ray_serve import RayServe, serving
from shared.serving import over_http

pytestmark = pytest.mark.server

NAMES = ("small", "text", "damaged")
CAT = (EXAMPLES / "cat.jpg").read_bytes()
SENTENCE = "The camera of this phone is not good."


OF_LIMITS = {"an answer too large", "too many characters", "a large answer over gRPC"}
"""Of an archive that allows little: this one computes minutes for them."""

OF_FORMS = {"Latin-1 in a form"}
"""Without a boundary TorchServe hands over the body as it is; Ray Serve says what is missing."""


@dataclass(frozen=True)
class Both:
    """The two servers' URLs."""

    torchserve: str
    ray: str
    started: RayServe
    store: Path

    def post(self, name: str, **options: Any) -> tuple[requests.Response, requests.Response]:
        """Ask both the same."""
        first, second = (
            requests.post(f"{url}/predictions/{name}", timeout=120, **options) for url in (self.torchserve, self.ray)
        )
        return first, second


@pytest.fixture(scope="module")
def both(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Serve a small network, the demo's texts and a damaged archive by both, computed in the same ways."""
    directory = tmp_path_factory.mktemp("both")
    store = directory / "model_store"
    plain = {"threads": 1, "operators": "plain"}
    small = Settings.model_validate({"input_size": "64,64", "n_steps": 10, **plain})
    order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], small)
    make_archive(order, "small", batch_size=2, store=store)
    make_archive(Order("demo-text", None, None, Settings.model_validate(plain)), "text", store=store)
    rewrite(make_archive(order, "damaged", store=store), "intgrads.json", b'"family": "timm"', b'"family": "what"')
    archives = [store / f"{name}.mar" for name in NAMES]
    with (
        TorchServe(directory, free_ports(5), [path.name for path in archives], store).running_until_left() as server,
        serving(archives) as started,
    ):
        yield Both(server.url, started.url, started, store)


WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "bytes": ("small", {"data": CAT, "headers": {"Content-Type": "image/jpeg"}}),
    "a form": ("small", {"files": {"data": CAT}, "data": {"target_class": "dog", "n_steps": "5"}}),
    "json": ("small", {"json": {"img_data": [[[1, 2, 3]] * 9] * 8, "format": "safetensors"}}),
    "accept": ("small", {"data": CAT, "headers": {"Content-Type": "image/jpeg", "Accept": "image/png"}}),
    "a text": ("text", {"data": SENTENCE.encode(), "headers": {"Content-Type": "text/plain"}}),
    "a text in a form": ("text", {"files": {"sequence": (None, SENTENCE)}}),
    "a list of texts": ("text", {"json": {"sequence": [SENTENCE, "Good."], "format": "json"}}),
}


@pytest.mark.parametrize(("name", "options"), WAYS.values(), ids=WAYS)
def test_every_way_to_send_is_answered_by_the_same_bytes(both: Both, name: str, options: dict[str, Any]) -> None:
    first, second = both.post(name, **options)
    assert first.status_code == second.status_code == 200, second.text[:500]
    assert first.headers["Content-Type"] == second.headers["Content-Type"]
    assert first.content == second.content
    assert own_headers(first) == own_headers(second) != set()


def own_headers(reply: requests.Response) -> set[str]:
    return {name.lower() for name in reply.headers if name.lower().startswith("x-intgrads")}


@pytest.mark.parametrize("format", ["gzip", "safetensors", "npz", "json", "png", "html"])
def test_every_format_has_the_same_bytes(both: Both, format: str) -> None:
    first, second = both.post("small", files={"data": CAT}, data={"format": format, "groups": "superpixels"})
    assert first.status_code == second.status_code == 200
    assert first.content == second.content


def test_an_answer_of_many_pieces_arrives_whole(both: Both) -> None:
    first, second = both.post("small", files={"data": CAT}, data={"format": "safetensors", "n_steps": "200"})
    assert len(first.content) > 15_000_000
    assert first.content == second.content


@pytest.mark.parametrize("case", bad_requests.BAD)
def test_whatever_is_wrong_with_a_picture_is_told_alike(both: Both, case: str) -> None:
    call, *_ = bad_requests.BAD[case]
    told_alike(both, "small", over_http(call))


@pytest.mark.parametrize("case", sorted(bad_texts.BAD.keys() - OF_LIMITS - OF_FORMS))
def test_whatever_is_wrong_with_a_text_is_told_alike(both: Both, case: str) -> None:
    call, *_ = bad_texts.BAD[case]
    told_alike(both, "text", over_http(call))


@pytest.mark.parametrize("case", sorted(OF_FORMS))
def test_a_form_that_is_none_is_refused_by_both(both: Both, case: str) -> None:
    call, *_ = bad_texts.BAD[case]
    assert [reply.status_code for reply in both.post("text", **over_http(call))] == [400, 400]


def told_alike(both: Both, name: str, options: dict[str, Any]) -> None:
    first, second = both.post(name, **options)
    assert second.status_code == first.status_code, second.text[:500]
    if first.status_code == 200:  # what only an archive that allows little refuses
        return
    assert 400 <= second.status_code < 500
    expected, told = first.json(), second.json()
    assert told == expected


def test_an_archive_that_cannot_be_loaded_says_so(both: Both) -> None:
    for reply in both.post("damaged", data=CAT, headers={"Content-Type": "image/jpeg"}):
        assert reply.status_code == 503
        assert reply.json()["type"] == "ModelNotLoaded"
        assert "'what'" in reply.json()["message"]


def test_an_archive_that_there_is_not_is_404_in_json(both: Both) -> None:
    for reply in both.post("nobody", data=b"x"):
        assert reply.status_code == 404
        assert reply.json()["type"] == "ModelNotFoundException"


def test_many_at_once_are_each_answered_as_alone(both: Both) -> None:
    targets = ["cat", "dog", "horse"] * 4
    alone = {target: ask(both.ray, target) for target in set(targets)}
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda target: ask(both.ray, target), targets))
    for target, answer in zip(targets, together, strict=True):
        assert answer["target_label"] == target
        assert answer["difference"] == pytest.approx(alone[target]["difference"], rel=1e-4)


def ask(url: str, target: str) -> Any:
    fields = {"target_class": target, "format": "json"}
    reply = requests.post(f"{url}/predictions/small", files={"data": CAT}, data=fields, timeout=120)
    assert reply.status_code == 200
    return reply.json()


def test_a_description_is_the_same(both: Both) -> None:
    first, second = (reply.json() for reply in both.post("text", headers={"describe": "True"}))
    assert first == second


# ---------------------------------------------------------------------- what Ray Serve does and TorchServe does not
def test_fields_may_stand_in_the_address(both: Both) -> None:
    url = f"{both.ray}/predictions/small?target_class=dog&format=json&n_steps=5"
    by_form = {"target_class": "dog", "format": "json", "n_steps": "5"}
    expected = requests.post(f"{both.ray}/predictions/small", files={"data": CAT}, data=by_form, timeout=120)
    for options in (
        {"data": CAT, "headers": {"Content-Type": "image/jpeg"}},
        {"files": {"data": CAT}},
    ):
        reply = requests.post(url, timeout=120, **options)
        assert reply.status_code == 200, reply.text
        assert reply.content == expected.content
    text = f"{both.ray}/predictions/text?format=json"
    assert requests.post(text, json={"sequence": SENTENCE}, timeout=120).json()["text"] == SENTENCE


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"files": {"data": CAT}, "params": {"format": "json"}, "data": {"format": "png"}}, 400, "came twice"),
        ({"json": {"img_data": [], "format": "json"}, "params": {"format": "json"}}, 400, "came twice"),
        ({"files": {"data": CAT}, "params": {"format": ["json", "html"]}}, 400, "came twice in the address"),
        ({"params": {"format": "json"}}, 400, "no picture"),
        ({"data": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400, ""),
        ({"data": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        (
            {
                "data": b'--y\r\nContent-Disposition: form-data; name=""\r\n\r\nnull\r\n--y--\r\n',
                "headers": {"Content-Type": "multipart/form-data; boundary=y"},
            },
            400,
            "",
        ),
        ({"data": b"\0" * (101 * 2**20), "headers": {"Content-Type": "image/jpeg"}}, 413, "100 MiB"),
    ],
    ids=[
        "twice in a form",
        "twice in json",
        "twice in the address",
        "no body",
        "no form",
        "no boundary",
        "an empty name",
        "too large",
    ],
)
def test_what_torchserve_answers_itself_is_told_in_json(
    both: Both, options: dict[str, Any], status: int, words: str
) -> None:
    reply = requests.post(f"{both.ray}/predictions/small", timeout=120, **options)
    assert reply.status_code == status, reply.text[:300]
    assert set(reply.json()) == {"code", "type", "message", "field"}
    assert words in reply.json()["message"]


def test_health_and_readiness_tell_the_truth(both: Both) -> None:
    assert requests.get(f"{both.ray}/ping", timeout=60).json() == {"status": "Healthy"}
    ready = requests.get(f"{both.ray}/ready", timeout=60)
    assert ready.status_code == 503
    states = ready.json()
    assert (states["small"], states["text"]) == ("ready", "ready")
    assert states["damaged"].startswith("failed: ")
    assert "/" not in json.dumps(states).replace("://", "")


def test_a_replica_that_is_killed_loses_its_request_and_is_replaced(both: Both) -> None:
    (pid,) = both.started.replicas("small")
    long = {"n_steps": "1000", "target_class": "[0, 1, 2]", "fields": "evaluations", "format": "json"}
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(requests.post, f"{both.ray}/predictions/small", files={"data": CAT}, data=long, timeout=120)
        wait_until_computing(pid, 1)
        os.kill(pid, signal.SIGKILL)
        assert lost.result().status_code == 500
    assert ask(both.ray, "dog")["target_label"] == "dog"  # it waits for the next replica
    assert pid not in both.started.replicas("small")
    url = f"{both.ray}/ready"
    wait_until(lambda: requests.get(url, timeout=60).json()["small"] == "ready", "the replica is ready again")


GONE = '"outcome": "ClientGone"'


def test_a_client_that_has_gone_costs_nothing_more(both: Both) -> None:
    """Of Ray Serve alone: TorchServe does not tell a worker that nobody waits any more."""
    before = both.started.logged().count(GONE)
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{both.ray}/predictions/small", files={"data": CAT}, data={"n_steps": "1000"}, timeout=(5, 0.5))
    wait_until(lambda: both.started.logged().count(GONE) > before, "Ray says that it went")
    assert requests.post(f"{both.ray}/predictions/small", files={"data": CAT}, timeout=120).status_code == 200


OF_A_PICTURE = {"target_class": "dog", "groups": "superpixels"}
OF_A_TEXT = {"tolerance": 0.02, "groups": "words"}


@pytest.mark.parametrize(
    ("name", "files", "fields", "tensor"),
    [
        # Of this archive two pictures would be computed together, and share rounding.
        ("small", ("cat.jpg",), OF_A_PICTURE, "integrated_grads"),
        ("text", ("negation.txt", "but.txt"), OF_A_TEXT, "integrated_gradients"),
    ],
)
def test_a_run_over_a_data_set_has_the_same_numbers(  # noqa: PLR0917
    both: Both, tmp_path: Path, name: str, files: tuple[str, ...], fields: dict[str, Any], tensor: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"path": str(EXAMPLES / file)}) + "\n" for file in files))
    options = [f"--field={field}={value}" for field, value in fields.items()]
    run = bulk(source, both.store / f"{name}.mar", tmp_path / "out", *options, "--tensors", tensor)
    assert run.returncode == 0, run.stderr
    for row, file in zip(results(tmp_path / "out"), files, strict=True):
        asked = {**fields, "fields": tensor, "format": "safetensors"}
        with (EXAMPLES / file).open("rb") as content:
            reply = requests.post(
                f"{both.torchserve}/predictions/{name}", files={"data": content}, data=asked, timeout=120
            )
        served = Result.read(reply.content)
        assert json.loads(row["info"]) == served.info
        kept = load_file(tmp_path / "out" / "tensors" / row["tensors"])[f"{row['row']}/{tensor}"]
        assert kept.tobytes() == served[tensor].tobytes()


MORE = 120
"""Requests than a replica takes in."""


def test_an_archive_at_work_is_ready_however_many_wait(both: Both) -> None:
    """The last one: what it leaves behind is not waited for."""
    url = f"{both.ray}/ready"
    assert requests.get(url, timeout=60).json()["small"] == "ready"
    long = {"n_steps": "1000", "target_class": "[0, 1, 2]", "fields": "evaluations", "format": "json"}

    def abandoned(_: int) -> None:
        with suppress(requests.Timeout):
            requests.post(f"{both.ray}/predictions/small", files={"data": CAT}, data=long, timeout=20)

    with ThreadPoolExecutor(MORE) as pool:
        waiting = [pool.submit(abandoned, number) for number in range(MORE)]
        behind = False
        while not behind:
            reply = requests.get(url, timeout=60)
            # A replica that has room tells at once; the question to one that has none waits for seconds.
            behind = reply.elapsed.total_seconds() > 4
            assert (reply.json()["small"], reply.json()["text"]) == ("ready", "ready")
            assert not all(one.done() for one in waiting)
    for one in waiting:
        one.result()
