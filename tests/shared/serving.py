"""Asking a real TorchServe over HTTP, and reading what it answers."""

import gzip
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import torch
from intgrads.call import Call
from intgrads.serving.torchserve import TorchServe


def over_http(call: Call) -> dict[str, Any]:
    """Return a call as ``requests.post`` sends it."""
    headers = {"Content-Type": call.content_type, "Accept": call.accept or "*/*"}
    if call.form is not None:
        files = {name: (None, value) for name, value in call.form.items()}
        return {"files": files, "headers": {"Accept": headers["Accept"]}}
    named = {name: value for name, value in headers.items() if value}
    if call.body is None or isinstance(call.body, bytes):
        return {"data": call.body, "headers": named}
    return {"data": json.dumps(call.body, default=str).encode(), "headers": named}


def post(server: TorchServe, model: str = "intgrads", **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/predictions/{model}", timeout=120, **options)


def post_at_once(server: TorchServe, model: str, asks: Sequence[dict[str, Any]]) -> list[requests.Response]:
    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(lambda ask: post(server, model, **ask), asks))


def loaded(reply: requests.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text[:500]
    assert reply.headers["content-type"] == "application/gzip"
    content: dict[str, Any] = torch.load(io.BytesIO(gzip.decompress(reply.content)), weights_only=True)
    return content


def assert_refused(reply: requests.Response, name: str) -> None:
    """Assert that a reply is an error of the caller's, in JSON; a failure names the request."""
    error = reply.json()
    assert error.keys() == {"code", "type", "message", "field"}, name
    assert 400 <= reply.status_code == error["code"] < 500, (name, error)


def pids(server: TorchServe, model: str) -> set[int]:
    return {worker["pid"] for worker in server.workers(model)}


def description(server: TorchServe, model: str) -> dict[str, Any]:
    url = f"{server.management_url}/models/{model}?customized=true"
    told: dict[str, Any] = requests.get(url, timeout=60).json()[0]["customizedMetadata"]
    return told
