"""What TorchServe loads: one class that takes its batches in and sends our replies out. It computes nothing.

Everything else is the package ``intgrads`` beside it. On the day someone serves it with another server, this file is
what they rewrite.
"""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ts.handler_utils.utils import send_intermediate_predict_response

if TYPE_CHECKING:
    from intgrads.service import Service
    from ts.context import Context

logger = logging.getLogger(__name__)


class IntgradsHandler:
    """TorchServe's entry point: ``initialize`` once a worker, ``handle`` once a batch."""

    def __init__(self) -> None:
        self.service: Service[Any] | None = None
        self.failure = "it was not initialised"

    def initialize(self, context: Context) -> None:
        """Load the archive onto the device that TorchServe gave this worker.

        A failure is kept and answered to every request: raising here would leave clients hanging while TorchServe
        restarts the worker again and again.
        """
        properties = context.system_properties
        try:
            from intgrads.service import Service
            from intgrads.speed.devices import pick_device

            device = pick_device(properties.get("gpu_id"))
            self.service = Service.load(Path(properties["model_dir"]), device)
            logger.info("%s is ready on %s", context.model_name, device)
        except Exception as error:
            logger.exception("the model could not be loaded")
            self.failure = f"{type(error).__name__}: {error}"
        # What loading made lives as long as the worker; the collector need not look at it during every request.
        gc.collect()
        gc.freeze()

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """Answer a batch of requests."""
        headers = [context.get_all_request_header(i) for i in range(len(data))]
        # TorchServe asks for a description with this header and without a body, alone; a caller's own header beside a
        # picture is a header like any other.
        if all(h.get("describe") == "True" and not any(row.values()) for h, row in zip(headers, data, strict=True)):
            return [self.service.describe() if self.service else {"error": self.failure}] * len(data)
        if self.service is None:
            return [self._unavailable(i, context) for i in range(len(data))]

        from intgrads.request import Call

        replies = self.service.answer([Call(row, h) for row, h in zip(data, headers, strict=True)])
        for i, reply in enumerate(replies):
            context.set_response_status(reply.status, reply.phrase, i)
            context.set_response_content_type(i, reply.content_type)
            for name, value in reply.headers.items():
                context.set_response_header(i, name, value)
        # All computing is done: a failure in mid-stream could no longer be told to the caller. A piece is addressed
        # to its own request only, so that the others of the batch are not taken for streams.
        for i, reply in enumerate(replies):
            for piece in reply.body[:-1]:
                send_intermediate_predict_response({i: piece}, {i: context.request_ids[i]}, "ok", 200, context)
        return [reply.body[-1] for reply in replies]

    def _unavailable(self, i: int, context: Context) -> dict[str, Any]:
        context.set_response_status(503, "Service Unavailable", i)
        context.set_response_content_type(i, "application/json")
        return {
            "code": 503,
            "type": "ModelNotLoaded",
            "message": f"the model failed to load ({self.failure}); mend the archive or its environment and restart",
            "field": None,
        }
