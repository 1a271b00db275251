"""From a batch of calls to a batch of replies: the way of a request, in order.

parse (request.py) → decode and prepare the picture (pictures.py, baselines.py) → check that the answer can be sent →
integrate all requests of the batch together (attribution.py) → build and encode each answer (response.py). A request
that fails at any of these steps is answered with its own error and leaves the others alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intgrads.archive import open_archive
from intgrads.attribution import Attribution, PathIntegral, integrate, is_out_of_memory
from intgrads.attribution import Path as IntegrationPath
from intgrads.baselines import image_baseline
from intgrads.convergence import RELATIVE_ERROR
from intgrads.devices import chunk_rows, memory_of_a_row, set_threads
from intgrads.errors import RequestError
from intgrads.models.image import ImageClassifier
from intgrads.pictures import Picture
from intgrads.precision import PRECISIONS, Precision, at_precision
from intgrads.rendering import heat_map, to_png
from intgrads.request import FORMATS, TENSOR_FIELDS, Call, ImageRequest, parse_request
from intgrads.response import Answer, Reply, answer_reply, error_reply
from intgrads.settings import Settings

logger = logging.getLogger(__name__)

GRPC_LIMIT = 4 * 1024 * 1024
"""Largest answer by gRPC, where nothing can be sent in pieces; gRPC's own default limit for a message."""

TOP = 5
"""How many of the likeliest classes an answer lists."""


@dataclass
class Job:
    """A request on its way: what was asked, and what was made of it so far."""

    call: Call
    request: ImageRequest
    picture: Picture
    integral: PathIntegral
    notes: list[str]


class Service:
    """A loaded archive.

    Parameters
    ----------
    name : str
        What the archive calls its model.
    network : ImageClassifier
    settings : Settings
    device : torch.device
    """

    def __init__(self, name: str, network: ImageClassifier, settings: Settings, device: torch.device) -> None:
        self.name = name
        self.network = network
        self.settings = settings
        self.device = device
        row = memory_of_a_row(network.module, network.shape, device)
        self.chunk_rows = chunk_rows(settings.memory_budget_mb, row)
        self._networks: dict[Precision, nn.Module] = {}

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> Service:
        """Load the archive that was unpacked in a directory onto a device."""
        archive = open_archive(directory, device)
        return cls(archive.model, archive.network, archive.settings, device)

    def describe(self) -> dict[str, Any]:
        """Return what this archive takes and gives, for ``GET /models/NAME?customized=true``."""
        return {
            "model": self.name,
            "classes": len(self.network.labels),
            "input_size": [self.network.picture.height, self.network.picture.width],
            "device": str(self.device),
            "settings": self.settings.model_dump(exclude_none=True),
            "fields": {name: field.description for name, field in ImageRequest.model_fields.items()},
            "formats": list(FORMATS),
        }

    def answer(self, calls: Sequence[Call]) -> list[Reply]:
        """Answer a batch.

        Parameters
        ----------
        calls : sequence of Call

        Returns
        -------
        list of Reply
            One for each call, in their order; never raises for what a caller sent.
        """
        started = time.monotonic()
        set_threads(self.settings.threads)
        replies: dict[int, Reply] = {}
        jobs: dict[int, Job] = {}
        for i, call in enumerate(calls):
            with _failing_alone(i, replies):
                jobs[i] = self._prepare(call)
        stopped = self._integrate(jobs, started)
        for i, job in jobs.items():
            with _failing_alone(i, replies):
                if not job.integral.complete:
                    raise stopped
                attribution = job.integral.finish()
                answer = self._answer(job, attribution)
                headers = {
                    "X-Intgrads-Convergence-Delta": _plain(answer.info["convergence_delta"]),
                    "X-Intgrads-Evaluations": str(attribution.evaluations),
                    "X-Intgrads-Seconds": f"{time.monotonic() - started:.3f}",
                }
                reply = answer_reply(answer, job.request.format, headers)
                if job.call.is_grpc and len(reply.body) > 1:
                    # A piece sent to a unary gRPC call hangs the worker for good.
                    raise _too_large_for_grpc(sum(map(len, reply.body)))
                replies[i] = reply
        return [replies[i] for i in range(len(calls))]

    def _prepare(self, call: Call) -> Job:
        request, notes = parse_request(call, self.settings)
        targets = self._targets(request)
        self._check_size(request, len(targets or (0,)), call.is_grpc)
        picture = request.picture(self.settings)
        pixels = self.network.picture.resize(picture)
        x = self.network.picture.normalise(pixels)
        start = image_baseline(request.baseline, pixels, request.seed)
        baseline = torch.zeros_like(x) if start is None else self.network.picture.normalise(start)
        integral = PathIntegral(
            IntegrationPath(x.to(self.device), baseline.to(self.device), targets),
            request.nodes(),
            keep_gradients="integrated_directional_grads" in self._fields(request),
        )
        return Job(call, request, picture, integral, notes)

    def _targets(self, request: ImageRequest) -> tuple[int, ...] | None:
        target = request.target_class
        if target is None:
            return None
        wanted = target if isinstance(target, list) else [target]
        return tuple(self.network.labels.resolve(one) for one in wanted)

    @staticmethod
    def _fields(request: ImageRequest) -> Sequence[str]:
        """Names of the tensors to send: all of them by default, none where the format has no room for them."""
        if request.format == "png" or (request.format == "json" and request.fields is None):
            return ()
        return TENSOR_FIELDS if request.fields is None else [n for n in TENSOR_FIELDS if n in request.fields]

    def _check_size(self, request: ImageRequest, n_targets: int, is_grpc: bool) -> None:
        """Refuse an answer that could not be sent before anything is computed for it."""
        step = 4 * int(np.prod(self.network.shape))
        sizes = {
            "integrated_grads": n_targets * step,
            "integrated_directional_grads": n_targets * request.most_steps * step,
            "intermediates": request.most_steps * step,
        }
        size = sum(sizes.get(name, 0) for name in self._fields(request))
        if request.format == "json":
            size *= 5  # a float32 takes about 20 characters
        if is_grpc and size > GRPC_LIMIT:
            raise _too_large_for_grpc(size)
        if request.tolerance is not None:
            # A refinement holds its gradients until their weights are known, whether they are sent or not.
            size = max(size, sizes["integrated_directional_grads"])
        if size > self.settings.max_answer_mb * 2**20:
            raise RequestError(
                f"the answer would take {size / 2**20:.0f} MB, more than this archive's {self.settings.max_answer_mb}; "
                "ask for fewer `fields` (integrated_directional_grads and intermediates grow with n_steps), n_steps "
                "(with a tolerance: max_evaluations) or fewer targets",
                "fields",
                code=413,
                type="AnswerTooLarge",
            )

    def _integrate(self, jobs: dict[int, Job], started: float) -> RequestError:
        """Integrate all jobs together; return what to tell those that are not complete."""
        deadline = started + self.settings.response_timeout

        def in_time() -> None:
            if time.monotonic() > deadline:
                raise RequestError(
                    f"not done within the {self.settings.response_timeout} s that this archive allows; ask for fewer "
                    "n_steps or target classes",
                    "n_steps",
                    code=413,
                    type="TooMuchWork",
                )

        # Small requests first, so that those which are done at the deadline are answered.
        ordered = sorted(jobs.values(), key=lambda job: job.integral.cost)
        reason = RequestError("")
        try:
            for precision in PRECISIONS:
                integrals = [job.integral for job in ordered if job.request.precision == precision]
                if integrals:
                    integrate(self._network_at(precision), integrals, self.chunk_rows, in_time)
        except Exception as error:
            reason = _told(error)
        return reason

    def _network_at(self, precision: Precision) -> nn.Module:
        """Return the network at a precision, made at the first request for it."""
        if precision not in self._networks:
            self._networks[precision] = at_precision(self.network.module, precision)
        return self._networks[precision]

    def _answer(self, job: Job, attribution: Attribution) -> Answer:
        if not torch.isfinite(attribution.integrated_gradients).all():
            raise RequestError(
                "the network's gradients are not finite numbers for this picture and baseline; try another baseline",
                "baseline",
                code=422,
                type="NotFinite",
            )
        several = isinstance(job.request.target_class, list)
        info = self._info(job, attribution, several)
        return Answer(
            tensors=self._tensors(job, attribution, several),
            info=info,
            draw=lambda: to_png(heat_map(job.picture.pixels, attribution.integrated_gradients[0].numpy())),
            tensors_in_json=job.request.fields is not None,
        )

    def _tensors(self, job: Job, attribution: Attribution, several: bool) -> dict[str, Tensor]:
        integral, fields = job.integral, self._fields(job.request)

        def cut(tensor: Tensor | None) -> Tensor:
            assert tensor is not None
            return tensor if several else tensor[0]

        available: dict[str, Callable[[], Tensor]] = {
            "integrated_grads": lambda: cut(attribution.integrated_gradients[:, None]),
            "integrated_directional_grads": lambda: cut(attribution.gradients),
            "step_sizes": lambda: torch.from_numpy(attribution.step_sizes).float()[:, None],
            "intermediates": lambda: torch.stack(
                [integral.point(alpha).cpu() for alpha in attribution.alphas.tolist()]
            ),
            "alphas": lambda: torch.from_numpy(attribution.alphas).float()[:, None],
            "output": lambda: attribution.output[None],
            "baseline_output": lambda: attribution.baseline_output[None],
        }
        figures = {
            "target_class": cut(torch.tensor(attribution.targets)),
            "convergence_delta": cut(torch.from_numpy(attribution.convergence_delta)),
            "local_error": cut(torch.from_numpy(attribution.local_error)),
            "converged": cut(torch.from_numpy(attribution.converged)),
            "evaluations": torch.tensor(attribution.evaluations),
        }
        return {name: available[name]().contiguous() for name in fields} | figures

    def _info(self, job: Job, attribution: Attribution, several: bool) -> dict[str, Any]:
        request, picture, spec, labels = job.request, job.picture, self.network.picture, self.network.labels
        probabilities = attribution.output.double().softmax(0)
        likeliest = probabilities.topk(min(TOP, len(labels))).indices.tolist()

        def scores(index: int) -> dict[str, Any]:
            return {
                "index": index,
                "label": labels[index],
                "logit": attribution.output[index].item(),
                "probability": probabilities[index].item(),
            }

        def each(values: Any) -> Any:
            return list(values) if several else values[0]

        warnings = [*job.notes, *picture.notes]
        if picture.size != (spec.height, spec.width):
            warnings.append(
                f"the picture was resized from {picture.size[1]} × {picture.size[0]} to the network's "
                f"{spec.width} × {spec.height}"
            )
        for target, delta, difference in zip(
            attribution.targets, attribution.convergence_delta, attribution.difference, strict=True
        ):
            if abs(delta) > RELATIVE_ERROR * abs(difference):
                warnings.append(
                    f"the integral has not converged for {labels[target]!r}: its sum misses f(x) - f(x') = "
                    f"{difference:.4g} by {delta:.2g}; ask for more n_steps or for a tolerance"
                )
        if request.tolerance and not attribution.converged.all():
            warnings.append(
                f"the tolerance was not met within {attribution.evaluations} evaluations; the local error tells how "
                "far it is, and more max_evaluations may help"
            )
        return {
            "model": self.name,
            "prediction": scores(likeliest[0]),
            "top": [scores(index) for index in likeliest],
            "target_class": each(attribution.targets),
            "target_label": each([labels[target] for target in attribution.targets]),
            "target_score": each([probabilities[target].item() for target in attribution.targets]),
            "difference": each(attribution.difference.tolist()),
            "convergence_delta": each(attribution.convergence_delta.tolist()),
            "local_error": each(attribution.local_error.tolist()),
            "converged": each(attribution.converged.tolist()),
            "evaluations": attribution.evaluations,
            "n_steps": len(attribution.alphas),
            "method": "refined" if request.tolerance else request.method,
            "tolerance": request.tolerance,
            "precision": request.precision,
            "baseline": request.baseline,
            "seed": request.seed,
            "picture_size": list(picture.size),
            "input_size": [spec.height, spec.width],
            "warnings": warnings,
        }


@contextmanager
def _failing_alone(i: int, replies: dict[int, Reply]) -> Iterator[None]:
    """Answer a request whose turn raises with its error, and go on with the others."""
    try:
        yield
    except Exception as error:
        replies[i] = error_reply(_told(error))


def _told(error: Exception) -> RequestError:
    """Return what the caller is told of an error; one that is not the caller's is logged."""
    if isinstance(error, RequestError):
        return error
    logger.error("a request failed", exc_info=error)
    return _internal(error)


def _too_large_for_grpc(size: int) -> RequestError:
    return RequestError(
        f"the answer would take {size / 2**20:.0f} MB and gRPC carries {GRPC_LIMIT // 2**20}; ask over HTTP, "
        "or for fewer `fields`, or for `format` json",
        "fields",
        code=413,
        type="AnswerTooLarge",
    )


def _internal(error: Exception) -> RequestError:
    if is_out_of_memory(error):
        return RequestError(
            "memory ran out even for one step at a time; send a smaller request or serve it on a larger machine",
            code=507,
            type="OutOfMemory",
        )
    return RequestError(
        f"the server failed on this request ({type(error).__name__}: {error}); its log tells more",
        code=500,
        type="InternalError",
    )


def _plain(value: float | list[float]) -> str:
    return ",".join(f"{v:.6g}" for v in (value if isinstance(value, list) else [value]))
