"""Hundreds of requests at random, most of them bad: each is answered, by the same workers, and tells nothing of us."""

import json
from collections import Counter
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from intgrads.serving.torchserve import TorchServe
from shared.fuzz import LEAK, PICTURES, REQUESTS, Asked, http, send
from shared.serving import assert_refused, pids, post
from shared.toys import encoded, pixels

pytestmark = pytest.mark.server

FRONTEND = {
    (400, "BadRequestException"),  # the HTTP around a request: its chunks, lengths and headers
    (404, "ModelNotFoundException"),
    (404, "ModelVersionNotFoundException"),
    (404, "ResourceNotFoundException"),
    (405, "MethodNotAllowedException"),
    (413, ""),  # a length over its limit
    *((500, f"{kind}Exception") for kind in ("ErrorDataDecoder", "ArrayIndexOutOfBounds", "StringIndexOutOfBounds")),
}
"""What TorchServe's frontend refuses by itself: no worker hears of it. Its 500s are of forms put together wrong."""

NETWORKS = ("batches", "text")


def try_many(torchserve: TorchServe, count: int, same: bool) -> Counter[tuple[str, int, str]]:
    """Send requests at random and check each; return how many answers there were, by whose, the status and the type."""
    before = {name: pids(torchserve, name) for name in NETWORKS}
    failed = torchserve.log("model_log.log").count("a request failed")
    found: Counter[tuple[str, int, str]] = Counter()

    @settings(
        max_examples=count, derandomize=same, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(REQUESTS)
    def one(asked: Asked) -> None:
        answers = send(torchserve.url, asked)
        assert answers or asked.ends, "no answer"
        for answer in answers:
            found[answer.whose, answer.status, answer.type] += 1
            said = answer.body[:500]
            if answer.whose == "ours":
                assert answer.status == 200 or 400 <= answer.status < 500, said
            else:
                assert answer.whose in ("frontend", "empty"), said
                assert (answer.status, answer.type) in FRONTEND, said
                assert answer.status != 500 or asked.kind == "form", said
            assert answer.status == 200 or not LEAK.search(answer.body), said

    one()
    assert {name: pids(torchserve, name) for name in NETWORKS} == before
    assert torchserve.log("model_log.log").count("a request failed") == failed
    return found


def test_three_hundred_requests(torchserve: TorchServe) -> None:
    found = try_many(torchserve, 300, same=True)
    assert sum(found.values()) >= 290
    assert {whose for whose, _, _ in found} >= {"ours", "frontend"}
    assert {status for whose, status, _ in found if whose == "ours"} >= {200, 400, 415}


def test_every_make_of_picture(torchserve: TorchServe) -> None:
    """What is drawn at random may leave some out."""
    before = pids(torchserve, "batches")
    for name, picture in PICTURES.items():
        reply = post(torchserve, "batches", files={"data": picture}, data={"format": "json", "n_steps": "1"})
        wrong = {
            "TIFF": {415},
            "GIF": {415},
            "bomb": {413},
            "bomb of one row": {413},
            "bomb without a side": {400, 415},
        }
        assert reply.status_code in wrong.get(name, {200}), (name, reply.text[:300])
    assert pids(torchserve, "batches") == before


GROUPS: dict[str, tuple[str, Any]] = {
    "a tree of depth 10,000": ("text", "(" * 10_000 + "good" + ")" * 10_000),
    "a tree that never closes": ("text", "(S " * 10_000),
    "a tree that is closed before it is opened": ("text", ")(" * 10_000),
    "spans that cross": ("text", [[0, 7], [5, 13]]),
    "spans beyond all texts": ("text", [[0, 10**30]]),
    "spans that are negative": ("text", [[-5, 2]]),
    "run lengths that add up by overflow": ("batches", [{"size": [12, 16], "counts": [2**64 - 192, 384]}]),
    "run lengths that are negative": ("batches", [{"size": [12, 16], "counts": [-192, 384]}]),
    "run lengths of 2^70": ("batches", [{"size": [12, 16], "counts": [2**70]}]),
    "run lengths as a text without an end": ("batches", [{"size": [12, 16], "counts": "o" * 100_000}]),
    "run lengths of a size of 2^64": ("batches", [{"size": [2**32, 2**32], "counts": [2**64]}]),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_that_are_made_to_hurt(torchserve: TorchServe, name: str) -> None:
    model, groups = GROUPS[name]
    before = pids(torchserve, model)
    given = {"sequence": "good, not bad"} if model == "text" else {"img_data": pixels(12, 16).tolist()}
    reply = post(torchserve, model, json={**given, "groups": groups, "n_steps": 1, "format": "json"})
    if name == "spans that cross":  # which groups may
        assert reply.status_code == 200
    else:
        assert_refused(reply, name)
        assert reply.json()["field"] == "groups"
    assert pids(torchserve, model) == before


@pytest.mark.slow
def test_five_thousand_requests(torchserve: TorchServe) -> None:
    found = try_many(torchserve, 5000, same=False)
    print(
        "\n" + "\n".join(f"{count:5d} {whose} {status} {kind}" for (whose, status, kind), count in found.most_common())
    )


NAMED = b'Content-Disposition: form-data; name="sequence"'
LINE = "multipart/form-data; boundary=line"
FORMS: dict[str, tuple[str, bytes, str]] = {
    # what is wrong with it: its content type, the head of its one part, and the type of the error
    "no disposition": (LINE, b"Content-Type: text/plain", "ErrorDataDecoder"),
    "another disposition": (LINE, b'Content-Disposition: attachment; name="sequence"', "ErrorDataDecoder"),
    "no name": (LINE, b"Content-Disposition: form-data", "ErrorDataDecoder"),
    "an empty name": (LINE, b'Content-Disposition: form-data; name=""', "ErrorDataDecoder"),
    "a name without a value": (LINE, b"Content-Disposition: form-data; name", "ArrayIndexOutOfBounds"),
    "an unknown charset": (LINE, NAMED + b"\r\nContent-Type: text/plain; charset=no", "ErrorDataDecoder"),
    "a file name in no charset": (LINE, NAMED + b"; filename*=x", "ErrorDataDecoder"),
    "a part of parts": (LINE, NAMED + b"\r\nContent-Type: multipart/mixed", "ArrayIndexOutOfBounds"),
    "a boundary without a value": ("multipart/form-data; boundary", NAMED, "ErrorDataDecoder"),
    "an empty boundary": ("multipart/form-data; boundary=", NAMED, "StringIndexOutOfBounds"),
    "half a percent sign": ("application/x-www-form-urlencoded", b"sequence=%zz", "ErrorDataDecoder"),
}
"""Every kind of form, of thousands at random, that TorchServe's frontend answers with a 500 of its own."""


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_put_together_wrong_gets_torchserves_own_500(torchserve: TorchServe, name: str) -> None:
    content_type, head, kind = FORMS[name]
    raw = http("text", b"--line\r\n" + head + b"\r\n\r\ngood\r\n--line--\r\n", [("Content-Type", content_type)])
    (answer,) = send(torchserve.url, Asked("form", raw))
    assert (answer.whose, answer.status, answer.type) == ("frontend", 500, f"{kind}Exception"), answer.body
    assert not LEAK.search(answer.body)


@pytest.mark.slow
def test_after_a_hundred_of_the_largest_memory_is_what_it_was(torchserve: TorchServe) -> None:
    noise = encoded(pixels(3000, 4000), "PNG", compress_level=0)
    largest: list[dict[str, Any]] = [
        {"files": {"data": noise}, "data": {"format": "json", "n_steps": "1"}},
        {"data": json.dumps({"img_data": pixels(1500, 2000).tolist(), "n_steps": 1, "format": "json"})},
        {"data": b"[" * 30_000_000},
        {"data": json.dumps({"img_data": [[]] * 5_000_000})},
        {"data": np.random.default_rng(0).bytes(90_000_000)},
        {"data": PICTURES["bomb"]},
    ]
    (worker,) = (psutil.Process(pid) for pid in pids(torchserve, "batches"))

    def ask(count: int) -> int:
        for k in range(count):
            one = dict(largest[k % len(largest)])
            if "files" not in one:
                one["headers"] = {"Content-Type": "application/json"}
            assert post(torchserve, "batches", **one).status_code in (200, 400, 413, 415)
        return int(worker.memory_full_info().uss)

    # Both end with the same one: the last request is kept until the next one comes.
    before = ask(2 * len(largest))
    after = ask(17 * len(largest))
    print(f"\n{before / 2**20:.0f} MiB before, {after / 2**20:.0f} after")
    assert after < 1.1 * before
