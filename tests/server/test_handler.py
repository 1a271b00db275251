"""What is TorchServe's own: how its batches come in, how replies go out; and what it is told where nothing loads."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from intgrads.call import PIECE, pieces
from shared.toys import encoded, pixels, small_service
from ts.torch_handler.base_handler import BaseHandler

import handler
from handler import GRPC, IntgradsHandler, device_of, to_call

HERE = {"Host": "localhost"}


class Context:
    """As much of TorchServe's context as a handler uses."""

    model_name = "toy"
    metrics = SimpleNamespace(add_time=lambda *_: None, add_metric=lambda *_: None)

    def __init__(self, *headers: dict[str, str], model_dir: str = "/nowhere") -> None:
        self.headers = headers
        self.sent: list[dict[str, Any]] = [{} for _ in headers]
        self.manifest = self.model_yaml_config = dict[str, Any]()
        self.system_properties = {"gpu_id": None, "model_dir": model_dir}
        self.request_ids = {i: f"request {i}" for i in range(len(headers))}

    def get_all_request_header(self, i: int) -> dict[str, str]:
        return self.headers[i]

    def set_response_status(self, code: int, phrase: str, i: int) -> None:
        self.sent[i] |= {"status": code, "phrase": phrase}

    def set_response_content_type(self, i: int, kind: str) -> None:
        self.sent[i]["content type"] = kind

    def set_response_header(self, i: int, name: str, value: str) -> None:
        self.sent[i][name] = value


def loaded() -> IntgradsHandler:
    made = IntgradsHandler()
    made.service = small_service()
    return made


def test_it_is_one_of_torchserves_own_handlers() -> None:
    assert issubclass(IntgradsHandler, BaseHandler)


def test_a_batch_goes_through_the_three_stages_and_each_gets_its_own_answer() -> None:
    json_type = {"content-type": "application/json"}
    context = Context({**HERE, "Content-Type": "image/png", "accept": "application/json"}, {**HERE, **json_type})
    good, bad = loaded().handle([{"body": bytearray(encoded(pixels()))}, {"body": {"img_data": 5}}], context)
    assert json.loads(good)["evaluations"] == 52
    assert json.loads(bad)["field"] == "img_data"
    assert [sent["status"] for sent in context.sent] == [200, 400]
    assert context.sent[0]["phrase"] == "OK"
    assert context.sent[0]["X-Intgrads-Evaluations"] == "52"


def test_explanations_are_the_same_and_descriptions_come_without_a_body() -> None:
    picture = {"body": bytearray(encoded(pixels()))}
    asked = {**HERE, "Content-Type": "image/png", "Accept": "application/json", "explain": "True", "describe": "True"}
    assert json.loads(loaded().handle([picture], Context(asked))[0])["evaluations"] == 52
    (described,) = loaded().handle([{"body": b""}], Context({"describe": "True"}))
    assert described["classes"] == 3


def test_each_of_several_callers_headers_gets_an_answer() -> None:
    """TorchServe describes alone; a batch must have as many replies as requests."""
    headers = {**HERE, "describe": "True"}
    replies = loaded().handle([{"body": b""}] * 2, Context(headers, headers))
    assert [json.loads(reply)["type"] for reply in replies] == ["EmptyBody"] * 2


def test_what_cannot_be_loaded_is_told_to_every_request(tmp_path: Path) -> None:
    broken = IntgradsHandler()
    context = Context(HERE, HERE, model_dir=str(tmp_path))
    broken.initialize(context)
    told = [json.loads(reply) for reply in broken.handle([{"body": b"x"}] * 2, context)]
    assert [(one["code"], one["type"]) for one in told] == [(503, "ModelNotLoaded")] * 2
    assert "intgrads.json" in told[0]["message"]
    assert "error" in broken.handle([{}], Context({"describe": "True"}))[0]


@pytest.mark.parametrize(
    ("row", "headers", "body", "form"),
    [
        ({"body": bytearray(b"\xff\xd8")}, HERE, b"\xff\xd8", None),
        ({"body": {"sequence": "good"}}, HERE, {"sequence": "good"}, None),
        ({"body": "good"}, {**HERE, "Content-Type": "text/plain; charset=utf-8"}, b"good", None),
        ({"body": "a JSON text"}, {**HERE, "Content-Type": "application/json"}, "a JSON text", None),
        ({"data": "decoded"}, HERE, b"decoded", None),
        ({"data": bytearray(b"a"), "n_steps": bytearray(b"5")}, HERE, None, {"data": b"a", "n_steps": b"5"}),
        ({"data": "decoded", "n_steps": bytearray(b"5")}, HERE, None, {"data": b"decoded", "n_steps": b"5"}),
        ({}, HERE, None, None),
    ],
)
def test_whatever_torchserve_made_of_a_request_is_a_call(row: Any, headers: Any, body: Any, form: Any) -> None:
    made = to_call(row, headers)
    assert (made.body, made.form) == (body, form)
    assert made.limit is None


def test_grpc_has_no_host_and_carries_little() -> None:
    assert to_call({"data": bytearray(b"{}")}, {}).limit is GRPC
    assert to_call({"data": bytearray(b"{}")}, {"hOST": "here"}).limit is None


def test_headers_are_found_whatever_their_spelling() -> None:
    made = to_call({"body": b"x"}, {"HOST": "h", "ACCEPT": "image/png", "content-TYPE": "Image/JPEG"})
    assert (made.accept, made.content_type) == ("image/png", "image/jpeg")


def test_large_replies_leave_in_pieces_and_empty_ones_in_one() -> None:
    body = [bytes(PIECE + 1), b"", bytes(3)]
    cut = list(pieces(body))
    assert [len(piece) for piece in cut] == [PIECE, 1, 3]
    assert b"".join(cut) == b"".join(body)
    assert list(pieces([])) == list(pieces([b""])) == [b""]


def test_no_gpu_id_means_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of(None) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(2) == torch.device("cuda", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(2) == torch.device("cpu")


def test_float32_is_float32() -> None:
    """Importing TorchServe's own handler lets GPUs that have them round to ten bits; ours takes that back."""
    program = """
import torch
torch.cuda.is_available, torch.cuda.get_device_capability = lambda: True, lambda: (9, 0)
import ts.torch_handler.base_handler
before = torch.get_float32_matmul_precision()
import handler
print(before, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
"""
    places = {"PYTHONPATH": str(Path(handler.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=places)
    assert done.stdout.split() == ["high", "highest", "False"]


SERVER = """
import subprocess, sys
program = "from handler import workers as w; print(flush=1); input(); print(w(), flush=1); input()"
sleeping, ended = subprocess.Popen(["sleep", "600"]), subprocess.Popen(["true"])
workers = [
    subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(3)
]
for worker in workers:
    worker.stdout.readline()
for worker in workers:
    print(worker.stdin.write("count\\n"), worker.stdin.flush(), worker.stdout.readline().strip())
for worker in workers:
    worker.communicate("end\\n")
sleeping.kill()
"""


def test_workers_are_counted_among_the_children_of_the_server() -> None:
    """A process starts three Pythons, a sleep and one that ends, as TorchServe does; each Python counts three."""
    places = {"PYTHONPATH": str(Path(handler.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True, env=places)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["3"] * 3
