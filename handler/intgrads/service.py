"""From a batch of calls to a batch of replies: the way of a request, in order.

parse (request.py) → read what was sent and prepare it (models/image.py, detector.py, text.py) → check that the answer
can be sent → integrate all requests of the batch (attribution.py) → build and encode each answer (response.py). A
request that fails at any of these steps is answered with its own error and leaves the others alone. What is particular
to pictures or to text lies behind the seam of subjects.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor, nn

from intgrads.archive import open_archive, read_manifest
from intgrads.errors import RequestError
from intgrads.integral.attribution import Attribution, PathIntegral
from intgrads.integral.batches import integrate, is_out_of_memory
from intgrads.integral.convergence import RELATIVE_ERROR
from intgrads.integral.groups import Family, GroupValues, group_values
from intgrads.integral.path import StraightPath
from intgrads.outputs import predicted_labels, probabilities
from intgrads.request import Call, Request, parse_request
from intgrads.response import Answer, Reply, answer_reply, error_reply
from intgrads.settings import Settings
from intgrads.speed.devices import MOST_ROWS, OnDevice, chunk_rows, memory_of_a_row, set_threads
from intgrads.speed.precision import Precision, at_precision
from intgrads.subjects import AnyClassifier, Classifier, Subject

logger = logging.getLogger(__name__)

GRPC_LIMIT = 4 * 1024 * 1024
"""Largest answer by gRPC, where nothing can be sent in pieces; gRPC's own default limit for a message."""

GROUP_FIGURES = {
    "idg": "idg",
    "dividends": "dividend",
    "values": "value",
    "integrated_gradients": "integrated_gradients",
}
"""What an answer tells of each group: in its arrays, after ``group_``, and in JSON's list."""

TOP = 5
"""How many of the likeliest classes an answer lists."""


@dataclass
class Part:
    """One input of a request on its way: a picture, or one of its texts."""

    subject: Subject
    precision: Precision
    forward: nn.Module
    integral: PathIntegral
    failure: RequestError | None = None


@dataclass
class Job:
    """A request on its way: what was asked, and what was made of it so far."""

    call: Call
    request: Request
    subjects: Sequence[Subject]
    parts: list[Part]
    """Of the subjects; none where nothing is to be attributed."""
    notes: list[str]


class Service(Generic[AnyClassifier]):
    """A loaded archive.

    Parameters
    ----------
    name : str
        What the archive calls its model.
    network : ImageClassifier, Detector or TextClassifier
    settings : Settings
    device : torch.device
        Where the network is.
    copies : sequence of (nn.Module, torch.device)
        Copies of its module on further devices, which share its work.
    """

    def __init__(
        self,
        name: str,
        network: AnyClassifier,
        settings: Settings,
        device: torch.device,
        copies: Sequence[tuple[nn.Module, torch.device]] = (),
    ) -> None:
        self.name = name
        self.network = network
        self.settings = settings
        self.device = device
        self.copies = list(copies)
        self.chunk_rows = MOST_ROWS
        self._row_memory: dict[tuple[type[nn.Module], tuple[int, ...]], int] = {}
        self._rounded: dict[tuple[int, Precision], nn.Module] = {}
        if network.shape is not None:
            self._rows(network.module, network.shape)

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> Service[Classifier]:
        """Load the archive that was unpacked in a directory onto a device, or those that its settings name."""
        settings = Settings.model_validate(read_manifest(directory)["settings"])
        devices = [torch.device(name) for name in settings.devices or ()] or [device]
        archive, *others = [open_archive(directory, one) for one in devices]
        copies = [(other.network.module, one) for other, one in zip(others, devices[1:], strict=True)]
        return Service[Classifier](archive.model, archive.network, archive.settings, devices[0], copies)

    def describe(self) -> dict[str, Any]:
        """Return what this archive takes and gives, for ``GET /models/NAME?customized=true``."""
        request = self.network.request
        return {
            "model": self.name,
            "takes": request.takes,
            "classes": len(self.network.labels),
            "labels": list(self.network.labels),
            "outputs": self.network.outputs,
            **self.network.describe(),
            "device": str(self.device),
            "settings": self.settings.model_dump(exclude_none=True),
            "fields": {name: field.description for name, field in request.model_fields.items()},
            "formats": list(request.formats()),
        }

    def _rows(self, forward: nn.Module, shape: tuple[int, ...]) -> int:
        """Return how many points of a shape a batch may have."""
        kind = type(forward), shape
        if kind not in self._row_memory:
            self._row_memory[kind] = memory_of_a_row(forward, shape, self.device)
        return min(self.chunk_rows, chunk_rows(self.settings.memory_budget_mb, self._row_memory[kind]))

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
        self._integrate([part for job in jobs.values() for part in job.parts], started)
        for i, job in jobs.items():
            with _failing_alone(i, replies):
                answers = [self._answer(job, part) for part in job.parts]
                headers = {}
                if answers:
                    headers = {
                        "X-Intgrads-Convergence-Delta": ",".join(_plain(a.info["convergence_delta"]) for a in answers),
                        "X-Intgrads-Evaluations": ",".join(str(a.info["evaluations"]) for a in answers),
                    }
                answers = answers or [self._found(job, subject) for subject in job.subjects]
                headers["X-Intgrads-Seconds"] = f"{time.monotonic() - started:.3f}"
                reply = answer_reply(answers, job.request.several_inputs, job.request.format, headers)
                if job.call.is_grpc and len(reply.body) > 1:
                    # A piece sent to a unary gRPC call hangs the worker for good.
                    raise _too_large_for_grpc(sum(map(len, reply.body)))
                replies[i] = reply
        return [replies[i] for i in range(len(calls))]

    def _prepare(self, call: Call) -> Job:
        request, notes = parse_request(call, self.settings, self.network.request)
        targets = self._targets(request)
        subjects = self.network.subjects(request, self.settings)
        self._check_size(request, subjects, len(targets or (0,)), call.is_grpc)
        parts = [self._part(request, subject, targets) for subject in subjects if subject.attributed]
        return Job(call, request, subjects, parts, notes)

    def _part(self, request: Request, subject: Subject, targets: tuple[int, ...] | None) -> Part:
        forward = subject.bind(self._module(0, request.precision))
        x, baseline = subject.path()
        integral = PathIntegral(
            StraightPath(x.to(self.device), baseline.to(self.device), targets or subject.targets),
            request.nodes(),
            keep_gradients=request.tensors[1] in request.sent_tensors(),
        )
        return Part(subject, request.precision, forward, integral)

    def _targets(self, request: Request) -> tuple[int, ...] | None:
        target = request.target_class
        if target is None:
            return None
        wanted = target if isinstance(target, list) else [target]
        return tuple(self.network.labels.resolve(one) for one in wanted)

    def _check_size(self, request: Request, subjects: Sequence[Subject], n_targets: int, is_grpc: bool) -> None:
        """Refuse an answer that could not be sent before anything is computed for it."""
        step = 4 * sum(prod(subject.shape) for subject in subjects)
        integral, gradients = request.tensors[:2]
        sizes = {
            integral: n_targets * step,
            gradients: n_targets * request.most_steps * step,
            "intermediates": request.most_steps * step,
            "group_masks": sum(subject.family.places.nbytes for subject in subjects if subject.family),
        }
        size = sum(sizes.get(name, 0) for name in request.sent_tensors())
        if request.format == "json":
            size *= 5  # a float32 takes about 20 characters
        if is_grpc and size > GRPC_LIMIT:
            raise _too_large_for_grpc(size)
        if request.tolerance is not None:
            # A refinement holds its gradients until their weights are known, whether they are sent or not.
            size = max(size, sizes[gradients])
        if size > self.settings.max_answer_mb * 2**20:
            raise RequestError(
                f"the answer would take {size / 2**20:.0f} MB, more than this archive's {self.settings.max_answer_mb}; "
                f"ask for fewer `fields` ({gradients} and intermediates grow with n_steps), n_steps (with a tolerance: "
                "max_evaluations) or fewer targets",
                "fields",
                code=413,
                type="AnswerTooLarge",
            )

    def _integrate(self, parts: Sequence[Part], started: float) -> None:
        """Integrate all parts; those of one forward share batches. A failure is noted with each part it befell."""
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

        groups: dict[nn.Module, list[Part]] = {}
        # Small requests first, so that those which are done at the deadline are answered.
        for part in sorted(parts, key=lambda part: part.integral.cost):
            groups.setdefault(part.forward, []).append(part)
        for forward, group in groups.items():
            subject, precision = group[0].subject, group[0].precision
            copies = [
                OnDevice(subject.bind(self._module(place, precision)), device)
                for place, (_, device) in enumerate(self.copies, 1)
            ]
            try:
                in_time()
                rows = self._rows(forward, subject.shape)
                integrate([forward, *copies], [part.integral for part in group], rows, in_time)
            except Exception as error:
                failure = _told(error)
                for part in group:
                    part.failure = failure

    def _module(self, place: int, precision: Precision) -> nn.Module:
        """Return the network, or a copy of it, at a precision, which is made at the first request for it."""
        module = self.copies[place - 1][0] if place else self.network.module
        if precision == "float32":
            return module
        if (place, precision) not in self._rounded:
            self._rounded[place, precision] = at_precision(module, precision)
        return self._rounded[place, precision]

    def _answer(self, job: Job, part: Part) -> Answer:
        if part.failure is not None and not part.integral.complete:
            raise part.failure
        attribution = part.integral.finish()
        for where, output in (("this input", attribution.output), ("this baseline", attribution.baseline_output)):
            if not torch.isfinite(output).all():
                raise RequestError(
                    f"the network's outputs are not finite numbers for {where}: its values grow beyond float32; send "
                    "another one, or look at its weights",
                    "baseline" if where == "this baseline" else job.request.input_field,
                    code=422,
                    type="NotFinite",
                )
        if not torch.isfinite(attribution.integrated_gradients).all():
            raise RequestError(
                "the network's gradients are not finite numbers for this input and baseline; try another baseline",
                "baseline",
                code=422,
                type="NotFinite",
            )
        subject = part.subject
        several = job.request.several_targets

        def cut(name: str, figure: Tensor) -> Tensor:
            return figure[0] if name.endswith("_scores") and not several else figure

        own = {name: cut(name, torch.from_numpy(array)) for name, array in subject.figures(attribution).items()}
        strings = subject.strings()
        info = self._info(job, part, attribution) | subject.info()
        info |= {name: figure.tolist() for name, figure in own.items()} | strings
        tensors = self._tensors(job.request, part.integral, attribution) | own | _large(subject)
        groups = _group_values(part, attribution)
        if subject.family is not None:
            tensors |= _group_tensors(job.request, subject.family, groups)
            info["groups"] = _group_list(subject.family, groups, several)
        by_target: list[GroupValues | None] = [*groups] or [None] * len(attribution.targets)
        each_target = list(zip(attribution.integrated_gradients, by_target, strict=True))
        return Answer(
            tensors=tensors,
            info=info,
            strings=strings,
            png=lambda told: subject.png(attribution, by_target[0], told),
            sections=lambda: [subject.section(*target) for target in each_target],
            tensors_in_json=job.request.fields is not None,
        )

    def _found(self, job: Job, subject: Subject) -> Answer:
        """Return the answer about a picture of which nothing was to be attributed."""
        own = subject.figures(None)
        info = {"model": self.name, "warnings": [*job.notes, *subject.notes]} | subject.info()
        return Answer(
            tensors={name: torch.from_numpy(array) for name, array in own.items()} | _large(subject),
            info=info | {name: array.tolist() for name, array in own.items()},
            strings={},
            png=lambda told: subject.png(None, None, told),
            sections=lambda: [subject.section(None, None)],
            tensors_in_json=job.request.fields is not None,
        )

    @staticmethod
    def _tensors(request: Request, integral: PathIntegral, attribution: Attribution) -> dict[str, Tensor]:
        def cut(tensor: Tensor | None) -> Tensor:
            assert tensor is not None
            return tensor if request.several_targets else tensor[0]

        available: dict[str, Callable[[], Tensor]] = {
            request.tensors[0]: lambda: cut(attribution.integrated_gradients[:, None]),
            request.tensors[1]: lambda: cut(attribution.gradients),
            "step_sizes": lambda: torch.from_numpy(attribution.step_sizes).float()[:, None],
            "intermediates": lambda: torch.stack(
                [integral.path.point(alpha).cpu() for alpha in attribution.alphas.tolist()]
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
        sent = [name for name in request.sent_tensors() if name in available]
        return {name: available[name]().contiguous() for name in sent} | figures

    def _info(self, job: Job, part: Part, attribution: Attribution) -> dict[str, Any]:
        request, labels = job.request, part.subject.labels
        logits = attribution.output.double()
        shares = probabilities(self.network.outputs, logits)
        largest = logits.topk(min(TOP, len(labels))).indices.tolist()

        def scores(index: int) -> dict[str, Any]:
            return {
                "index": index,
                "label": labels[index],
                "logit": attribution.output[index].item(),
                "probability": None if shares is None else shares[index].item(),
            }

        def each(values: Any) -> Any:
            return list(values) if request.several_targets else values[0]

        warnings = [*job.notes, *part.subject.notes]
        if shares is None and len(labels) > 1 and request.target_class is None:
            warnings.append(
                "target_class was not sent: the largest of the outputs was attributed, though they are plain numbers "
                "and no classes"
            )
        for target, delta, difference in zip(
            attribution.targets, attribution.convergence_delta, attribution.difference, strict=True
        ):
            if abs(delta) > RELATIVE_ERROR * abs(difference):
                remedy = "" if request.tolerance else "; ask for more n_steps or for a tolerance"
                warnings.append(
                    f"the integral has not converged for {labels[target]!r}: its sum misses f(x) - f(x') = "
                    f"{difference:.4g} by {delta:.2g}{remedy}"
                )
        if request.tolerance and not attribution.converged.all():
            more = request.max_evaluations < self.settings.max_evaluations
            remedy = ", and more max_evaluations may help" if more else "; this archive allows no more of them"
            warnings.append(
                f"the tolerance was not met within {attribution.evaluations} evaluations; the local error tells how "
                f"far it is{remedy}"
            )
        return {
            "model": self.name,
            "outputs": self.network.outputs,
            "prediction": scores(largest[0]),
            "top": [scores(index) for index in largest],
            "predicted_labels": predicted_labels(self.network.outputs, logits, labels),
            "target_class": each(attribution.targets),
            "target_label": each([labels[target] for target in attribution.targets]),
            "target_score": each([scores(target)["probability"] for target in attribution.targets]),
            "target_output": each([attribution.output[target].item() for target in attribution.targets]),
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
            "warnings": warnings,
        }


def _large(subject: Subject) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in subject.tensors().items()}


def _group_values(part: Part, attribution: Attribution) -> list[GroupValues]:
    """Return what the groups that were asked for carry, for each target; nothing where none were."""
    subject, path = part.subject, part.integral.path
    if subject.family is None:
        return []
    step = subject.by_unit((path.input.double() - path.baseline.double()).cpu()).numpy()
    return [
        group_values(subject.by_unit(of_target).double().numpy(), step, subject.family.members, subject.family.units)
        for of_target in attribution.integrated_gradients
    ]


def _group_tensors(request: Request, family: Family, groups: Sequence[GroupValues]) -> dict[str, Tensor]:
    """Return the arrays that an answer has about groups; those of values are (T, G), or (G,) for a single target."""
    tensors = {}
    if family.name in request.figures or family.name in request.sent_tensors():
        tensors[family.name] = torch.from_numpy(family.places)
    for name in GROUP_FIGURES:
        values = torch.from_numpy(np.stack([getattr(of_target, name) for of_target in groups]))
        tensors[f"group_{name}"] = values if request.several_targets else values[0]
    return tensors


def _group_list(family: Family, groups: Sequence[GroupValues], several: bool) -> list[dict[str, Any]]:
    """Return the same as a list of groups, for JSON; for several targets each value is a list."""
    sizes = family.members.sum(1).tolist()
    figures = {
        shown: np.stack([getattr(of_target, name) for of_target in groups], axis=1)
        for name, shown in GROUP_FIGURES.items()
    }
    return [
        {"kind": kind, "label": label, "size": size}
        | {name: (of[k] if several else of[k, 0]).tolist() for name, of in figures.items()}
        for k, (kind, label, size) in enumerate(zip(family.kinds, family.labels, sizes, strict=True))
    ]


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
