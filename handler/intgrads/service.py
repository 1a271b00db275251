"""From a batch of calls to a batch of replies: the way of a request, station by station.

*read* what was sent (reading.py, and the kind's ``read``) → *look*: find objects, make groups, whatever costs time
before the integral (the kind's ``look``) → *check* that the answer can be sent → *integrate* all requests of the batch
(integral/) → *answer* (answers/). Each station does its work when its turn comes. A request that fails at any of them
is answered with its own error and leaves the others alone. What is particular to a kind of input lies behind the seam
of subject.py; what is particular to a server, in that server's own file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn

from intgrads import __version__
from intgrads.answers.answer import Attributed, answer, values_of_groups
from intgrads.answers.info import Integral, integral_info, integral_warnings, verification_warnings
from intgrads.answers.verified import orders, parts_to_verify
from intgrads.archives.archive import open_archive, read_manifest, read_settings
from intgrads.call import Account, Call, Limit, Reply
from intgrads.errors import RequestError, said
from intgrads.formats.encodings import Contents, encode
from intgrads.integral.ablation import Ends, Verification, passes, verify
from intgrads.integral.attribution import Attribution, PathIntegral, most_held
from intgrads.integral.batches import integrate, is_out_of_memory
from intgrads.integral.expectation import mean_attribution
from intgrads.integral.functionals import Functional
from intgrads.integral.groups import GroupValues
from intgrads.integral.nodes import Nodes
from intgrads.integral.path import StraightPath
from intgrads.openapi import openapi
from intgrads.question import Question, read_question
from intgrads.reading import read_request
from intgrads.request import ERROR_MAP, SPREAD, Request
from intgrads.settings import Settings
from intgrads.speed.devices import MOST_ROWS, OnDevice, RowMemory, chunk_rows, memory_of_a_row, set_threads
from intgrads.speed.heap import Heap
from intgrads.speed.pace import FORWARD, Pace, seconds_of_a_gradient, work_of_a_point
from intgrads.speed.precision import PRECISIONS, Precision, at_precision, pays
from intgrads.subject import AnyClassifier, Classifier, Clock, Integrand, Sent, Subject

logger = logging.getLogger(__name__)

JSON_GROWTH, JSON_GROWTH_OF_BITS = 5, 7
"""Bytes in JSON for each of an array's own, about: 20 characters for a float32, ``false, `` for a bit."""

LESS_WORK = (
    "ask for fewer n_steps (with a `tolerance`: a larger one, or fewer max_evaluations), target classes, baselines, "
    "texts or groups, leave `verify` out, or send a smaller picture or text"
)
"""What a request can do that takes too long."""

SLOWER, FEWEST_ADVISED = 2, 2
"""By how much a request may be slower than its estimate, which is the least, and still follow the steps that it was
told; and the fewest steps that are worth telling."""


@dataclass
class Part:
    """One input of a request on its way."""

    subject: Subject
    integrand: Integrand
    precision: Precision
    forward: nn.Module
    integrals: list[PathIntegral]
    """One for each baseline."""
    at_once: int
    """How many of these may be under way together: what they hold must fit."""
    to_verify: int = 0
    """Points that its verification computes for each target."""
    attributions: list[Attribution] = field(default_factory=list)
    failure: RequestError | None = None

    @property
    def cost(self) -> int:
        """Gradients to compute at least."""
        return sum(integral.cost for integral in self.integrals)

    def work(self, points: int) -> float:
        """Return the work of so many points, for all targets; see :mod:`intgrads.speed.pace`."""
        return points * work_of_a_point(len(self.integrals[0].targets or (0,)))

    @property
    def least_work(self) -> float:
        """The work that it is at least: a refinement may need more."""
        points = sum(len(integral.nodes.start()) for integral in self.integrals)
        return self.work(points) + self.work_of_verification

    @property
    def work_of_verification(self) -> float:
        """The part of that which does not depend on the steps."""
        return FORWARD * self.to_verify * len(self.integrals[0].targets or (0,))

    def wave(self, number: int) -> list[PathIntegral]:
        """Return those of its integrals that are under way together, as the first, second … of such sets."""
        return self.integrals[number * self.at_once : (number + 1) * self.at_once]


@dataclass
class Job:
    """A request on its way: what was asked, and what was made of it so far."""

    call: Call
    request: Request
    precision: Precision
    """That is computed; float32 where the one that was asked for does not pay."""
    notes: list[str]
    targets: tuple[int, ...] | None
    question: Question
    nodes: Nodes
    """As each of its inputs has them."""
    sent: Sequence[Sent]
    subjects: list[Subject] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    """Of the subjects of which something is to be attributed."""
    estimate: float = 0.0
    """Seconds that the network will compute for it, at least."""


@dataclass
class Batch:
    """Requests that are answered together: those on their way, and the replies to those that failed."""

    size: int
    started: float
    integrating: float = 0.0
    """Seconds that the network computed."""
    jobs: dict[int, Job] = field(default_factory=dict)
    replies: dict[int, Reply] = field(default_factory=dict)


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
    operators : mapping of str to str, optional
        Which way of computing each layer was found fastest.
    workers : callable
        Counts the processes that share this machine's cores with this one, itself among them.
    served_as : str, optional
        What the server calls the archive in its URL; by default `name`.
    """

    def __init__(
        self,
        name: str,
        network: AnyClassifier,
        settings: Settings,
        device: torch.device,
        *,
        copies: Sequence[tuple[nn.Module, torch.device]] = (),
        operators: Mapping[str, str] | None = None,
        workers: Callable[[], int] = lambda: 1,
        served_as: str | None = None,
    ) -> None:
        self.name = name
        self.served_as = served_as or name
        self.network = network
        self.settings = settings
        self.device = device
        self.copies = list(copies)
        self.operators = dict(operators or {})
        self.workers = workers
        self.chunk_rows = MOST_ROWS
        self._row_memory: dict[tuple[type[nn.Module], tuple[int, ...]], RowMemory] = {}
        self._rounded: dict[tuple[int, Precision], nn.Module] = {}
        self._pace = Pace()
        if network.shape is not None:
            self._rows(network.module, network.shape)
            self._learn_pace(network.module, "float32", network.shape)
        self._heap = Heap()

    @classmethod
    def load(
        cls,
        directory: Path,
        device: torch.device,
        workers: Callable[[], int] = lambda: 1,
        served_as: str | None = None,
    ) -> Service[Classifier]:
        """Load the archive that was unpacked in a directory onto a device, or those that its settings name."""
        settings = read_settings(read_manifest(directory))
        devices = [torch.device(name) for name in settings.devices or ()] or [device]
        set_threads(settings.threads, workers)  # as many as will compute: ways are measured with them
        archive, *others = [open_archive(directory, one) for one in devices]
        copies = [(other.network.module, one) for other, one in zip(others, devices[1:], strict=True)]
        return Service[Classifier](
            archive.model,
            archive.network,
            archive.settings,
            devices[0],
            copies=copies,
            operators=archive.operators,
            workers=workers,
            served_as=served_as,
        )

    def describe(self) -> dict[str, Any]:
        """Return what this archive takes and gives, as plain JSON."""
        request = self.network.request
        return {
            "model": self.name,
            "takes": request.takes,
            "classes": len(self.network.labels),
            "labels": list(self.network.labels),
            "outputs": self.network.outputs,
            **self.network.describe(),
            "device": str(self.device),
            "precisions": self.precisions(),
            "operators": self.operators,
            "settings": self.settings.model_dump(exclude_none=True),
            "fields": {name: field.description for name, field in request.model_fields.items()},
            "choices": request.choices(),
            "defaults": dict(self.network.defaults),
            "formats": list(request.formats()),
            "openapi": openapi({self.served_as: request}, __version__),
        }

    def precisions(self) -> list[Precision]:
        """Return the precisions that can be asked for and pay on this machine, float32 first."""
        taken = self.network.request.choices()["precision"]
        paying = PRECISIONS if pays(self.device) else ("float32",)
        return [precision for precision in PRECISIONS if precision in taken and precision in paying]

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
        batch = self.receive(calls)
        self.integrate(batch)
        return self.replies(batch)

    # ------------------------------------------------------------------ stations
    def receive(self, calls: Sequence[Call]) -> Batch:
        """Read what was sent, look at it, and check that it can be answered."""
        batch = self.read(calls)
        self.look(batch)
        return batch

    def read(self, calls: Sequence[Call]) -> Batch:
        """Read what was sent. Nothing of the network is used: another batch may be integrated meanwhile."""
        batch = Batch(len(calls), time.monotonic())
        for i, call in enumerate(calls):
            with _failing_alone(i, batch):
                batch.jobs[i] = self._read(call)
                self._check(batch.jobs[i])
        return batch

    def look(self, batch: Batch) -> None:
        """Look at what was read, and check that it can be answered."""
        set_threads(self.settings.threads, self.workers)
        in_time = self._clock(batch)
        for i, job in list(batch.jobs.items()):
            with _failing_alone(i, batch):
                job.subjects = [sent.look(in_time) for sent in job.sent]
                self._check(job)
                job.parts = [
                    self._part(job, subject, subject.integrand) for subject in job.subjects if subject.integrand
                ]
        self._refuse_what_takes_too_long(batch)

    def _refuse_what_takes_too_long(self, batch: Batch) -> None:
        """Refuse requests that cannot be done in the time that is left, before any work is done for them."""
        for job in batch.jobs.values():
            job.estimate = sum(map(self._estimate, job.parts))
        end = self._deadline(batch)
        for i, job in sorted(batch.jobs.items(), key=lambda one: one[1].estimate):
            if job.estimate > end - time.monotonic():
                self._estimate_anew(job)
            left = max(0.0, end - time.monotonic())
            if job.estimate > left:
                batch.replies[i] = Reply.of_error(_too_much(job, left, self.settings.response_timeout))
                batch.replies[i].headers["X-Intgrads-Estimate"] = f"{job.estimate:.3g}"
                del batch.jobs[i]
            else:
                end -= job.estimate

    def _estimate_anew(self, job: Job) -> None:
        """Measure the pace again where it seems too slow for a request.

        It may have been learned while the machine stood still, or on an input of another size, and what is refused
        teaches nothing: without this all would be refused from then on.
        """
        longest = max(job.parts, key=self._estimate, default=None)
        if longest is not None:
            self._learn_pace(longest.forward, longest.precision, tuple(longest.integrand.input.shape))
            job.estimate = sum(map(self._estimate, job.parts))

    def _estimate(self, part: Part) -> float:
        """Return the seconds that the network will compute for an input, at least."""
        shape = tuple(part.integrand.input.shape)
        network = _paced(part.forward, part.precision)
        if not self._pace.knows(network):
            self._learn_pace(part.forward, part.precision, shape)
        return self._pace.foretell(network, prod(shape), part.least_work)

    def _learn_pace(self, forward: nn.Module, precision: Precision, shape: tuple[int, ...]) -> None:
        # A network that fails is told of when it integrates.
        with suppress(Exception):
            seconds = seconds_of_a_gradient(forward, shape, self.device)
            self._pace.learn(_paced(forward, precision), prod(shape), 1, seconds)

    def integrate(self, batch: Batch) -> None:
        """Integrate all that is to be attributed; inputs of one forward share batches.

        A failure is noted with each part it befell.
        """
        in_time = self._clock(batch)
        started = time.monotonic()
        groups: dict[nn.Module, list[Part]] = {}
        parts = [part for job in batch.jobs.values() for part in job.parts]
        # Small requests first, so that those which are done at the deadline are answered.
        for part in sorted(parts, key=lambda part: part.cost):
            groups.setdefault(part.forward, []).append(part)
        for forward, group in groups.items():
            integrand, precision = group[0].integrand, group[0].precision
            copies = [
                OnDevice(integrand.bind(self._module(place, precision)), device)
                for place, (_, device) in enumerate(self.copies, 1)
            ]
            try:
                in_time()
                rows = self._rows(forward, tuple(integrand.input.shape))
                begun = time.monotonic()
                for number in range(max(-(-len(part.integrals) // part.at_once) for part in group)):
                    under_way = [part.wave(number) for part in group]
                    integrate([forward, *copies], [one for of_part in under_way for one in of_part], rows, in_time)
                    for part, done in zip(group, under_way, strict=True):
                        # Of several, each is finished before the next ones start: what it held is let go.
                        if len(part.integrals) > 1:
                            part.attributions += [integral.finish() for integral in done]
                work = sum(part.work(sum(one.evaluations for one in part.integrals)) for part in group)
                self._pace.learn(_paced(forward, precision), integrand.input.numel(), work, time.monotonic() - begun)
            except Exception as error:
                failure = _told(error)
                for part in group:
                    part.failure = failure
        batch.integrating = time.monotonic() - started

    def replies(self, batch: Batch) -> list[Reply]:
        """Answer: what was integrated becomes the bytes that are sent."""
        for i, job in list(batch.jobs.items()):
            with _failing_alone(i, batch):
                batch.replies[i] = self._reply(job, batch)
        return [_accounted(batch.replies[i], batch) for i in range(batch.size)]

    def give_back_memory(self) -> None:
        """Give memory back to the machine after large answers; to be called once a batch's replies were sent."""
        self._heap.give_back()

    # ------------------------------------------------------------------ what they are made of
    def _deadline(self, batch: Batch) -> float:
        """Return when the time that a batch may take is over, on the clock of :func:`time.monotonic`."""
        return batch.started + self.settings.response_timeout

    def _clock(self, batch: Batch) -> Clock:
        """Return what is called before each pass: it raises where time is over, or nobody waits for the batch."""
        deadline = self._deadline(batch)

        def in_time() -> None:
            if batch.jobs and all(job.call.gone() for job in batch.jobs.values()):
                raise RequestError("its client has gone", kind="ClientGone")
            if time.monotonic() > deadline:
                raise RequestError(
                    f"not done within the {self.settings.response_timeout} s that this archive allows; {LESS_WORK}",
                    "n_steps",
                    kind="TooMuchWork",
                )

        return in_time

    def _read(self, call: Call) -> Job:
        request, notes = read_request(call, self.settings, self.network.request, self.network.defaults)
        targets = None
        if request.target_class is not None:
            wanted = request.target_class if isinstance(request.target_class, list) else [request.target_class]
            targets = tuple(self.network.labels.resolve(one) for one in wanted)
        question = read_question(request, self.network.labels, self.network.outputs)
        question.check(targets or (), self.network.labels)
        precision = request.precision
        if precision not in self.precisions():
            notes.append(
                f"precision {precision} was not used: this machine multiplies bfloat16 slower than float32, which was "
                "computed instead"
            )
            precision = "float32"
        sent = self.network.read(request, self.settings)
        return Job(call, request, precision, notes, targets, question, request.nodes(), sent)

    def _check(self, job: Job) -> None:
        """Refuse an answer that could not be sent, as far as its size is known: before and after looking."""
        request, json = job.request, job.request.format == "json"
        step = 4 * sum(prod(sent.shape) for sent in job.sent if sent.shape is not None)
        targets, steps = len(job.targets or (0,)), job.nodes.most
        sizes = {
            request.integral: targets * step,
            request.gradients: targets * steps * step,
            "intermediates": steps * step,
            ERROR_MAP: targets * step,
            SPREAD: targets * step,
        }
        size = sum(sizes.get(name, 0) for name in request.sent_tensors()) * (JSON_GROWTH if json else 1)
        for array in (array for subject in job.subjects for array in subject.shown.arrays(None) if array.large):
            growth = JSON_GROWTH_OF_BITS if array.values.dtype == bool else JSON_GROWTH
            size += array.values.nbytes * (growth if json else 1)
        if job.call.limit is not None and size > job.call.limit.size:
            raise _over(job.call.limit, size)
        size = max(size, sum(_held(job, sent.shape) for sent in job.sent if sent.shape))
        # The maps of several baselines are held until the last of them is there.
        several = [sent for sent in job.sent if sent.shape is not None and len(sent.starts) > 1]
        size += sum(4 * targets * len(sent.starts) * prod(sent.shape or ()) for sent in several)
        if size > self.settings.max_answer_mb * 2**20:
            raise RequestError(
                f"the answer would take {size / 2**20:.0f} MB, more than this archive's {self.settings.max_answer_mb}; "
                f"ask for fewer `fields` ({request.gradients} and intermediates grow with n_steps), n_steps (with a "
                "tolerance: max_evaluations) or fewer targets or baselines",
                "fields",
                kind="AnswerTooLarge",
            )

    def _part(self, job: Job, subject: Subject, integrand: Integrand) -> Part:
        request = job.request
        targets = job.targets or integrand.targets
        job.question.check(targets or (), integrand.labels)
        several, integrals = request.several_baselines, list[PathIntegral]()
        points = job.nodes.most * len(targets or (0,)) * len(integrand.baselines)
        x = integrand.input.to(self.device)
        for baseline in integrand.baselines:
            integral = PathIntegral(
                StraightPath(x, baseline.point.to(self.device), targets),
                request.nodes(),
                keep_gradients=request.gradients in request.sent_tensors() and not several,
                error_map=ERROR_MAP in request.sent_tensors(),
                sums=integrand.sums(points),
                # Of several paths a page shows the first.
                profile=integrand.profile(points) if request.format == "html" and not integrals else None,
                of=job.question.of,
                follows=integrals[0] if integrals else None,
            )
            integrals.append(integral)
        forward = integrand.bind(self._module(0, job.precision))
        held = _held(job, tuple(integrand.input.shape))
        at_once = max(1, self.settings.max_answer_mb * 2**20 // max(1, held))
        to_verify = 0
        if request.verify or integrand.kept_share is not None:
            to_verify = passes(parts_to_verify(integrand)) * len(integrals)
        return Part(subject, integrand, job.precision, forward, integrals, at_once, to_verify)

    def _reply(self, job: Job, batch: Batch) -> Reply:
        headers, account = dict[str, str](), Account("answered", job.request.format)
        begun, computed = time.monotonic(), batch.integrating
        answers = [self._answer(job, part, batch) for part in job.parts]
        contents = [content for content, _ in answers]
        if answers:
            deltas = [target.convergence_delta for _, integral in answers for target in integral.targets]
            headers["X-Intgrads-Convergence-Delta"] = ",".join(f"{delta:.6g}" for delta in deltas)
            errors = [target.attribution_error for _, integral in answers for target in integral.targets]
            headers["X-Intgrads-Attribution-Error"] = ",".join(f"{error:.3g}" for error in errors)
            headers["X-Intgrads-Evaluations"] = ",".join(str(integral.evaluations) for _, integral in answers)
            evaluations = sum(integral.evaluations for _, integral in answers)
            account = replace(account, evaluations=evaluations, attribution_error=max(errors))
        else:
            contents = [
                answer(self.name, job.request, subject, [*job.notes, *subject.notes], served_as=self.served_as)
                for subject in job.subjects
            ]
        content_type, body = encode(contents, job.request.several_inputs, job.request.format)
        size = sum(map(len, body))
        if job.call.limit is not None and size > job.call.limit.size:
            raise _over(job.call.limit, size)
        headers["X-Intgrads-Estimate"] = f"{job.estimate:.3g}"
        headers["X-Intgrads-Seconds"] = f"{time.monotonic() - batch.started:.4f}"
        headers["X-Intgrads-Integration-Seconds"] = f"{batch.integrating:.4f}"
        # Verification computes while the answer is made.
        account = replace(account, encoding=time.monotonic() - begun - (batch.integrating - computed))
        return Reply(200, content_type, body, headers, account)

    def _answer(self, job: Job, part: Part, batch: Batch) -> tuple[Contents, Integral]:
        if part.failure is not None and not all(integral.complete for integral in part.integrals):
            raise part.failure
        each = part.attributions or [integral.finish() for integral in part.integrals]
        for one in each:
            _check_finite(one, job.request)
        attribution = mean_attribution(each) if job.request.several_baselines else each[0]
        # A target that the caller left open is known by now.
        job.question.check(attribution.targets, part.integrand.labels, predicted=True)
        told = integral_info(
            job.request,
            attribution,
            part.integrand.labels,
            method=part.integrals[0].nodes.name,
            precision=job.precision,
            question=job.question,
            baselines=part.integrand.baselines,
        )
        warnings = integral_warnings(
            job.request, told, attribution.errors.evaluations_for, self.settings.most_evaluations
        )
        paths = [integral.path for integral in part.integrals]
        if not any(path.step.any() for path in paths):
            warnings.insert(0, "the input is the baseline: there is nothing to attribute; choose another baseline")
        groups = values_of_groups(part.integrand, paths, attribution)
        verifications: list[Verification] = []
        if job.request.verify or part.integrand.kept_share is not None:
            verifications = self._verify(part, attribution, groups, batch)
            warnings += verification_warnings(told, verifications)
        attributed = Attributed(part.integrand, paths, attribution, told, groups, verifications)
        notes = [*job.notes, *part.subject.notes, *warnings]
        return answer(self.name, job.request, part.subject, notes, attributed, served_as=self.served_as), told

    def _verify(
        self, part: Part, attribution: Attribution, groups: Sequence[GroupValues], batch: Batch
    ) -> list[Verification]:
        """Hold an answer's order of parts to what the network does without them, for each target."""
        started = time.monotonic()
        first, integrand = part.integrals[0], part.integrand
        ends = Ends(first.path.input, [integral.path.baseline for integral in part.integrals], integrand.unit_places)
        rows = self._rows(part.forward, tuple(integrand.input.shape))
        found = []
        for target, functional in enumerate(first.functionals):

            def output(points: Tensor, functional: Functional = functional) -> Tensor:
                return functional.of(part.forward(points).double())

            order = orders(integrand, attribution, target, groups[target] if groups else None, ends.changed)
            found.append(verify(output, ends, order, rows, self._clock(batch)))
        batch.integrating += time.monotonic() - started
        return found

    def _rows(self, forward: nn.Module, shape: tuple[int, ...]) -> int:
        """Return how many points of a shape a batch may have."""
        kind = type(forward), shape
        if kind not in self._row_memory:
            self._row_memory[kind] = memory_of_a_row(forward, shape, self.device)
        return min(self.chunk_rows, chunk_rows(self.settings.memory_budget_mb, self._row_memory[kind], self.device))

    def _module(self, place: int, precision: Precision) -> nn.Module:
        """Return the network, or a copy of it, at a precision, which is made at the first request for it."""
        module = self.copies[place - 1][0] if place else self.network.module
        if precision == "float32":
            return module
        if (place, precision) not in self._rounded:
            self._rounded[place, precision] = at_precision(module, precision)
        return self._rounded[place, precision]


def _paced(forward: nn.Module, precision: Precision) -> Hashable:
    """Return what a network's pace is remembered under, for each size of input."""
    return type(forward), precision


def _too_much(job: Job, left: float, allowed: int) -> RequestError:
    """Return the error of a request that would take longer than there is time."""
    steps = _steps_that_fit(job, left)
    return RequestError(
        f"this would take at least {job.estimate:.0f} s, and of the {allowed} s that this archive allows (its setting "
        f"`response_timeout`) {left:.0f} are left; "
        + (f"about {steps} n_steps would do; or " if steps >= FEWEST_ADVISED else "")
        + LESS_WORK,
        "n_steps",
        kind="TooMuchWork",
    )


def _steps_that_fit(job: Job, left: float) -> int:
    """Return with how many steps a request is likely done in some time; 0 where fewer steps do not help."""
    if job.nodes.known_weights is None or not job.estimate:
        return 0
    work = left / SLOWER / job.estimate * sum(part.least_work for part in job.parts)
    of_a_step = sum(part.work(len(part.integrals)) for part in job.parts)
    # The ends of a path come on top of few steps.
    return int((work - sum(part.work_of_verification for part in job.parts)) / of_a_step) - 2


def _held(job: Job, shape: tuple[int, ...]) -> int:
    """Return the bytes of gradients that an integral over inputs of a shape holds at most, sent or not."""
    size = len(job.targets or (0,)) * prod(shape)
    if ERROR_MAP in job.request.sent_tensors():
        return 4 * size * job.nodes.most
    # Until their weights are known.
    return 4 * size * min(job.nodes.most, most_held(size)) if job.nodes.known_weights is None else 0


def _accounted(reply: Reply, batch: Batch) -> Reply:
    """Return a reply with what is known of it once its batch is done."""
    account = replace(
        reply.account,
        seconds=time.monotonic() - batch.started,
        computing=batch.integrating,
        size=sum(map(len, reply.body)),
        together=batch.size,
    )
    return replace(reply, account=account)


@contextmanager
def _failing_alone(i: int, batch: Batch) -> Iterator[None]:
    """Answer a request whose turn raises with its error, and go on with the others."""
    try:
        yield
    except Exception as error:
        batch.jobs.pop(i, None)
        batch.replies[i] = Reply.of_error(_told(error))


def _check_finite(attribution: Attribution, request: Request) -> None:
    """Refuse what is no number: JSON could not carry it, and it tells nothing."""
    for name, output in (("input", attribution.output), ("baseline", attribution.baseline_output)):
        if not torch.isfinite(output).all():
            raise RequestError(
                f"the network's outputs are not finite numbers for this {name}: its values grow beyond float32; send "
                "another one, or look at its weights",
                "baseline" if name == "baseline" else request.input_field,
                kind="NotFinite",
            )
    # The extremes alone are looked at: what is no number becomes both of them.
    if not torch.isfinite(torch.stack(torch.aminmax(attribution.integrated_gradients))).all():
        raise RequestError(
            "the network's gradients are not finite numbers for this input and baseline; try another baseline",
            "baseline",
            kind="NotFinite",
        )


def _told(error: Exception) -> RequestError:
    """Return what the caller is told of an error; one that is not the caller's is logged."""
    if isinstance(error, RequestError):
        return error
    logger.error("a request failed", exc_info=error)
    if is_out_of_memory(error):
        return RequestError(
            "memory ran out on this request, even with one step at a time; ask for fewer `fields`, n_steps or target "
            "classes, send a smaller picture or text, or serve it on a larger machine",
            kind="OutOfMemory",
        )
    return RequestError(f"the server failed on this request ({said(error)}); its log tells more", kind="InternalError")


def _over(limit: Limit, size: int) -> RequestError:
    return RequestError(
        f"the answer would take {size / 2**20:.0f} MB, and {limit.remedy}", "fields", kind="AnswerTooLarge"
    )
