"""TorchServe, all that is its own: how its batches come in, and how our replies go out. It computes nothing.

Everything else is the package ``intgrads`` beside it. On the day someone serves it with another server, this file is
what they rewrite: it makes a :class:`intgrads.call.Call` of what arrives and sends a :class:`intgrads.call.Reply`.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from intgrads.call import Account, Call, Limit, Reply, pieces
from intgrads.errors import said
from intgrads.speed.devices import exact_products
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes
from ts.torch_handler.base_handler import BaseHandler

if TYPE_CHECKING:
    from intgrads.service import Batch, Service
    from ts.context import Context

logger = logging.getLogger(__name__)

# Importing BaseHandler turned tensor cores on for products as well.
exact_products()

GRPC = Limit(4 * 1024 * 1024, "gRPC carries 4 MB; ask over HTTP, or for fewer `fields`, or for `format` json")
"""gRPC's own default limit for a message. Nothing can be sent in pieces there: one hangs the worker for good."""


class IntgradsHandler(BaseHandler):  # type: ignore[misc]
    """TorchServe's entry point: ``initialize`` once a worker, ``handle`` once a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.service: Service[Any] | None = None
        self.failure = "it was not initialised"
        self._rows: list[dict[str, Any]] = []

    def initialize(self, context: Context) -> None:
        """Load the archive onto the device that TorchServe gave this worker.

        A failure is kept and answered to every request: raising here would leave clients hanging while TorchServe
        restarts the worker again and again.
        """
        properties = context.system_properties
        self.context, self.manifest = context, context.manifest
        try:
            from intgrads.service import Service

            self.device = device_of(properties.get("gpu_id"))
            self.service = Service.load(
                Path(properties["model_dir"]), self.device, workers_lately, served_as=context.model_name
            )
            logger.info("%s is ready on %s", context.model_name, self.device)
        except Exception as error:
            logger.exception("the model could not be loaded")
            self.failure = said(error)
        self.initialized = True
        # What loading made lives as long as the worker; the collector need not look at it during every request.
        gc.collect()
        gc.freeze()

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """Answer a batch of requests: ``preprocess``, ``inference``, ``postprocess``; or describe the model."""
        self._rows = data
        answers: list[Any] = super().handle(data, context)
        if self.service is not None:
            self.service.give_back_memory()
        return answers

    def _is_describe(self) -> bool:
        # TorchServe asks for a description with this header and without a body, alone; a caller's own header beside a
        # picture is a header like any other.
        alone = len(self._rows) == 1 and not any(self._rows[0].values())
        return alone and self.context.get_all_request_header(0).get("describe") == "True"

    def _is_explain(self) -> bool:
        # Predictions and explanations are the same here.
        return False

    def describe_handle(self) -> dict[str, Any]:
        """Return what the archive takes and gives."""
        return self.service.describe() if self.service else {"error": self.failure}

    def preprocess(self, data: list[dict[str, Any]]) -> Batch | None:
        """Read what was sent, look at it, and check that it can be answered; None where nothing could be loaded."""
        if self.service is None:
            return None
        return self.service.receive(
            [to_call(row, self.context.get_all_request_header(i)) for i, row in enumerate(data)]
        )

    def inference(self, data: Batch | None, *arguments: Any, **options: Any) -> Batch | None:  # noqa: ARG002
        """Integrate."""
        if self.service is not None and data is not None:
            self.service.integrate(data)
        return data

    def postprocess(self, data: Batch | None) -> list[Any]:
        """Encode the answers and send them, all pieces but the last of each right away."""
        if self.service is None or data is None:
            replies = [Reply.not_loaded(self.failure)] * len(self._rows)
        else:
            replies = self.service.replies(data)
        for i, reply in enumerate(replies):
            self._account_for(i, reply.account)
            self.context.set_response_status(reply.status, HTTPStatus(reply.status).phrase, i)
            self.context.set_response_content_type(i, reply.content_type)
            for name, value in reply.headers.items():
                self.context.set_response_header(i, name, value)
            if by_grpc(self.context.get_all_request_header(i)):
                # Of a streamed answer TorchServe wants to know whether this is its end; not told, it ends the worker.
                self.context.set_response_header(i, "ts_stream_next", "false")
        # All computing is done: a failure in mid-stream could no longer be told to the caller. A piece is addressed
        # to its own request only, so that the others of the batch are not taken for streams.
        last = []
        for i, reply in enumerate(replies):
            *first, final = pieces(reply.body)
            for piece in first:
                send_intermediate_predict_response(
                    {i: piece}, {i: self.context.request_ids[i]}, "ok", 200, self.context
                )
            last.append(final)
        return last

    def _account_for(self, i: int, account: Account) -> None:
        """Log what became of a request, under the id that its answer has as ``x-request-id``, and count it."""
        logger.info("request %s: %s", self.context.request_ids[i], json.dumps(asdict(account)))
        add = self.context.metrics.add_metric

        def of(*labels: tuple[str, str]) -> list[Dimension]:
            return [Dimension(name, value) for name, value in labels]

        outcome, format = ("Outcome", account.outcome), ("Format", account.format or "none")
        add("intgrads_requests_total", 1, "count", i, of(outcome, format), MetricTypes.COUNTER)
        add("intgrads_answer_bytes_total", account.size, "bytes", i, of(format), MetricTypes.COUNTER)
        add("intgrads_evaluations_total", account.evaluations, "count", i, of(), MetricTypes.COUNTER)
        add("intgrads_request_seconds", account.seconds, "seconds", i, of(outcome), MetricTypes.HISTOGRAM)
        if account.outcome == "answered":
            add("intgrads_computing_seconds", account.computing, "seconds", i, of(), MetricTypes.HISTOGRAM)
            add("intgrads_encoding_seconds", account.encoding, "seconds", i, of(format), MetricTypes.HISTOGRAM)
        if account.attribution_error is not None:
            add("intgrads_attribution_error", account.attribution_error, "ratio", i, of(), MetricTypes.HISTOGRAM)
        add("intgrads_batch_requests", account.together, "count", i, of(), MetricTypes.GAUGE)
        memory = psutil.Process().memory_info().rss
        add("intgrads_worker_memory_bytes", memory, "bytes", i, of(("Worker", str(os.getpid()))), MetricTypes.GAUGE)


def to_call(row: Mapping[str, Any], headers: Mapping[str, Any]) -> Call:
    """Return what TorchServe hands over for one request as any server would.

    Parameters
    ----------
    row : mapping of str to object
        Parts of a form by their names, or the whole body under ``body``: bytearrays, or what TorchServe decoded.
    headers : mapping of str to object
        In the caller's spelling. gRPC has none; its one part is called ``data`` and may hold anything that a body may.
    """
    named = {str(name).lower(): value for name, value in headers.items() if isinstance(value, str)}
    content_type = named.get("content-type", "").lower()
    parts = {name: bytes(value) if isinstance(value, bytearray) else value for name, value in row.items()}
    for name, value in parts.items():
        # TorchServe decodes a body, or a form's file, that says it is text.
        if isinstance(value, str) and (name == "data" or content_type.startswith("text")):
            parts[name] = value.encode("utf-8", "surrogatepass")
    whole = next((name for name in ("body", "data") if set(parts) == {name}), None)
    return Call(
        body=parts[whole] if whole else None,
        form=None if whole or not parts else parts,
        content_type=content_type,
        accept=named.get("accept", ""),
        limit=GRPC if by_grpc(headers) else None,
    )


def by_grpc(headers: Mapping[str, Any]) -> bool:
    """Whether a request came by gRPC, which has no headers; what HTTP sends with a body has one at least, its length.

    What stands beside them is TorchServe's account of each part.
    """
    return not any(isinstance(value, str) for value in headers.values())


def device_of(gpu_id: int | None) -> torch.device:
    """Return the GPU that TorchServe gave this worker, or the CPU where there is none."""
    if gpu_id is not None and torch.cuda.is_available():
        return torch.device("cuda", int(gpu_id))
    return torch.device("cpu")


def workers() -> int:
    """Count the workers that share this machine: the Python processes that our parent, the server, has started.

    TorchServe adds and removes workers while we run.
    """
    try:
        siblings = psutil.Process(os.getppid()).children()
    except (psutil.Error, OSError):
        return 1
    own = _program(psutil.Process())
    return max(1, sum(_program(sibling) == own for sibling in siblings))


def workers_lately() -> int:
    """Count the workers, anew each second: the longer the machine's list of processes, the longer that takes."""
    return _workers_at(int(time.monotonic()))


@lru_cache(maxsize=1)
def _workers_at(second: int) -> int:  # noqa: ARG001
    return workers()


def _program(process: psutil.Process) -> str:
    """Return the name of a process's program; none of one that ended and still stands in the list."""
    try:
        return Path(process.exe()).name
    except (psutil.Error, OSError):
        return ""
