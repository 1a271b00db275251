"""Hundreds of requests at random, most of them bad: each is answered, by the same workers, and tells nothing of us."""

import json
from collections import Counter
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from server import TorchServe
from shared.fuzz import LEAK, PICTURES, REQUESTS, Asked, http, send
from shared.serving import pids, post
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
    assert {status for whose, status, _ in found if whose == "ours"} >= {200, 400, 413, 415}


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
