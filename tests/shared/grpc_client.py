"""A client of TorchServe's gRPC, by the description that TorchServe's own archive of Java classes carries."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClassesForFiles
from grpc_tools import protoc
from intgrads.serving.torchserve import TorchServe

PACKAGE = "org.pytorch.serve.grpc.inference"
SECONDS = 120
STATUS = """
syntax = "proto3";
package google.rpc;
message Status { int32 code = 1; string message = 2; }
"""
"""What TorchServe's description takes from Google's, as far as it is used here."""


def description() -> bytes:
    """Return TorchServe's ``inference.proto``."""
    spec = find_spec("ts")
    assert spec is not None
    assert spec.origin is not None
    (jar,) = Path(spec.origin).parent.glob("frontend/*.jar")
    with zipfile.ZipFile(jar) as classes:
        return classes.read("proto/inference.proto")


@cache
def messages() -> dict[str, Any]:
    """Return the classes of the messages, by their full names."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "google" / "rpc").mkdir(parents=True)
        (place / "google" / "rpc" / "status.proto").write_text(STATUS)
        (place / "inference.proto").write_bytes(description())
        spec = find_spec("grpc_tools")
        assert spec is not None
        assert spec.origin is not None
        well_known = Path(spec.origin).parent / "_proto"
        out = place / "set"
        options = [f"-I{place}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main(["protoc", *options, "inference.proto"]) == 0
        files = FileDescriptorSet.FromString(out.read_bytes())
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    classes: dict[str, Any] = GetMessageClassesForFiles([file.name for file in files.file], pool)
    return classes


@dataclass(frozen=True)
class Client:
    """A client that asks one server."""

    channel: grpc.Channel

    def predict(self, model: str, **parts: bytes) -> bytes:
        """Return the one answer to a request."""
        reply = self._call("unary_unary", "Predictions")(self._request(model, parts), timeout=SECONDS)
        return bytes(reply.prediction)

    def stream(self, model: str, **parts: bytes) -> list[bytes]:
        """Return all parts of an answer that is streamed."""
        replies = self._call("unary_stream", "StreamPredictions")(self._request(model, parts), timeout=SECONDS)
        return [bytes(reply.prediction) for reply in replies]

    def stream_both_ways(self, model: str, *requests: dict[str, bytes]) -> list[Any]:
        """Return all answers to requests of one sequence that are streamed."""
        sent = iter([self._request(model, parts, sequence_id="one") for parts in requests])
        return list(self._call("stream_stream", "StreamPredictions2")(sent, timeout=SECONDS))

    def _request(self, model: str, parts: dict[str, bytes], **options: str) -> Any:
        return messages()[f"{PACKAGE}.PredictionsRequest"](model_name=model, input=parts, **options)

    def _call(self, kind: str, name: str) -> Any:
        return getattr(self.channel, kind)(
            f"/{PACKAGE}.InferenceAPIsService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages()[f"{PACKAGE}.PredictionResponse"].FromString,
        )


@contextmanager
def connected(server: TorchServe) -> Iterator[Client]:
    """Connect to a server."""
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc_inference_port']}") as channel:
        yield Client(channel)
