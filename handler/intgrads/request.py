"""What every request may ask: its fields, each defined here once. Those of one kind of input stand in its folder."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from intgrads.baselines import DATA, SEEDS, SEVERAL, is_several
from intgrads.errors import RequestError
from intgrads.formats.encodings import DRAWN, Format
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.nodes import Nodes
from intgrads.integral.quadrature import Method, quadrature
from intgrads.integral.refinement import LEAST_REFINEMENT, Refinement
from intgrads.settings import Settings
from intgrads.speed.precision import Precision

Figure = Literal[
    "target_class",
    "convergence_delta",
    "local_error",
    "attribution_error",
    "converged",
    "evaluations",
    "group_idg",
    "group_dividends",
    "group_values",
    "group_integrated_gradients",
    "group_idg_error",
    "group_dividends_error",
    "group_values_error",
    "group_integrated_gradients_error",
]
"""Small tensors that come with every answer (about groups); naming them among the fields changes nothing."""

ERROR_MAP = "attribution_error_map"
"""Tensor that is sent only where it is named: all gradients are held for it."""


SPREAD = "baseline_spread"
"""Tensor of how far several baselines are apart; there is none of one."""

OF_ONE_PATH = ("step_sizes", "intermediates", "alphas")
"""Tensors, with the gradients, that each baseline of several has of its own: they are not sent then."""

REST = "rest"
"""What `against` calls all other classes."""

MOST_AGAINST = 1000
"""Classes that `against` may name."""

Scale = Literal["logit", "log_probability", "probability"]


def no_bool(value: object) -> object:
    """Refuse true and false where a number is wanted; pydantic would take them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


WholeNumber = Annotated[int, BeforeValidator(no_bool)]
Target = Annotated[int, Field(strict=True)] | Annotated[str, Field(max_length=1000)]


def names_of_baselines(names: Sequence[str]) -> Callable[[object], object]:
    """Return a check of what is sent as baselines of a kind of input, given their names."""

    def check(value: object) -> object:
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str) or (one not in names and not SEVERAL.fullmatch(one)):
                listed = ", ".join(repr(name) for name in names)
                raise ValueError(f"must be {listed}, a list of them, uniform:N, examples or examples:N")
        return value

    return check


BASELINE = (
    "where the path starts; or several, of which the answer has the mean: a list of names, uniform:16 of random ones, "
    "examples of the archive's"
)

_rule = lru_cache(maxsize=32)(quadrature)
"""Rules that were asked for: their nodes take milliseconds to compute, and most requests ask for the same."""

FIELDS = (
    "the tensors to send, a list of names; default all of them but `attribution_error_map`, and none of them in json"
)
FORMAT = "the answer's format; default gzip, or as `Accept` says"


class Request(BaseModel, ABC):
    """What every request may ask.

    Every field's description says what it takes; errors and the documentation quote it. A kind of request states what
    it takes besides, in :attr:`takes` and :attr:`how_to_send` for people, and what its tensors are called.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes: ClassVar[str]
    how_to_send: ClassVar[str]
    input_field: ClassVar[str]
    integral: ClassVar[str]
    """Tensor of the integrated gradients."""
    gradients: ClassVar[str]
    """Tensor of the gradient at each step."""
    tensors: ClassVar[tuple[str, ...]]
    """All the large ones, sent where they are asked for."""
    figures: ClassVar[tuple[str, ...]]
    """The small ones that come with every answer."""

    target_class: Target | list[Target] | None = Field(
        None, description="a label, an index, or a list of them; default the predicted class"
    )
    against: Target | list[Target] | None = Field(
        None,
        description="what the target is told from: a label, an index, a list of them (their mean), or `rest`, all "
        "other classes; default nothing",
    )
    output: Scale = Field("logit", description="what of the target is attributed")
    n_steps: WholeNumber = Field(
        description="quadrature nodes, a whole number of at least 1; with a tolerance, where its refinement starts"
    )
    method: Method = Field(description="the rule of quadrature")
    tolerance: Annotated[float | None, BeforeValidator(no_bool)] = Field(
        None,
        gt=0,
        le=1,
        description="refine the nodes until the estimated error of the map is at most this part of it, 0 to 1, and the "
        "local error at most this part of the difference",
    )
    max_evaluations: WholeNumber = Field(description="most points of a refinement, a whole number of at least 5")
    precision: Precision = Field("float32", description="precision of the network's arithmetic")
    baseline: Any = Field(description=BASELINE)
    baseline_data: Any = Field(None, description="the caller's own baseline, or a list of them; default none")
    verify: bool = Field(
        False, description="whether to hold this answer to deletion and insertion, by real forward passes"
    )
    seed: WholeNumber = Field(
        0, ge=0, lt=SEEDS, description="seed of the random baselines, a whole number of at least 0"
    )
    fields: list[Any] | None = Field(None, description=FIELDS)
    format: Format = Field(description=FORMAT)

    def nodes(self) -> Nodes:
        """Return the rule or the refinement that was asked for."""
        if self.tolerance is None:
            return FixedNodes(_rule(self.method, self.n_steps))
        return Refinement(self.tolerance, self.max_evaluations, self.n_steps)

    @property
    def several_targets(self) -> bool:
        """Whether the answer has an axis for the targets."""
        return isinstance(self.target_class, list)

    @property
    def several_baselines(self) -> bool:
        """Whether the answer is a mean over baselines."""
        return is_several(self.baseline, self.baseline_data)

    @property
    def several_inputs(self) -> bool:
        """Whether the answer is a list, one element for each input."""
        return False

    def sent_tensors(self) -> Sequence[str]:
        """Names of the tensors to send: by default all of them but one, none where the format has no room for them."""
        if self.format in DRAWN or (self.format == "json" and self.fields is None):
            return ()
        if self.fields is None:
            left_out = {ERROR_MAP, *(self._of_one_path() if self.several_baselines else (SPREAD,))}
            return [name for name in self.tensors if name not in left_out]
        return [name for name in self.tensors if name in self.fields]

    @classmethod
    def _of_one_path(cls) -> tuple[str, ...]:
        return (cls.gradients, *OF_ONE_PATH)

    @classmethod
    def formats(cls) -> tuple[str, ...]:
        """Return the formats that an answer can have."""
        return get_args(cls.model_fields["format"].annotation)

    @classmethod
    def choices(cls) -> dict[str, list[str]]:
        """Return what each field can be that is one of a few words."""
        words = {name: _words(field.annotation) for name, field in cls.model_fields.items() if name != "fields"}
        return {name: of_field for name, of_field in words.items() if of_field}

    @classmethod
    @abstractmethod
    def from_bytes(cls, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the fields of a body that is not a form."""

    @classmethod
    def is_file(cls, name: str, value: bytes) -> bool:  # noqa: ARG003
        """Whether a part of a form is a file, not the text of an option."""
        return name == "data"

    @classmethod
    def refused_by(cls, kind: type[Request], name: str) -> RequestError:
        """Return the error of a field of this kind of request where another kind is taken."""
        return another_kind(kind, name)

    @classmethod
    def unused(cls, content: Mapping[str, Any], refined: bool) -> list[str]:
        """Return notes on what was sent and is not used, of a request that is refined or not."""
        notes = []
        if refined and "method" in content:
            notes.append("`method` was not used: with a tolerance the nodes are refined")
        if not refined and "max_evaluations" in content:
            notes.append("`max_evaluations` was not used: it bounds a refinement, which `tolerance` asks for")
        if "baseline" in content and DATA in content:
            notes.append("`baseline` was not used: the paths start at `baseline_data`")
        return notes

    def check(self, settings: Settings) -> Self:
        """Return the request if what it asks fits together and the archive's settings.

        Raises
        ------
        RequestError
        """
        least = 2 if self.method == "riemann_trapezoid" else 1
        if not least <= self.n_steps <= settings.max_n_steps:
            raise RequestError(
                f"must be a whole number from {least} to {settings.max_n_steps} for {self.method}, "
                f"got {shorten(self.n_steps)}",
                "n_steps",
            )
        if not LEAST_REFINEMENT <= self.max_evaluations <= settings.most_evaluations:
            raise RequestError(
                f"must be a whole number from {LEAST_REFINEMENT} to {settings.most_evaluations}, "
                f"got {shorten(self.max_evaluations)}",
                "max_evaluations",
            )
        for name in self.fields or ():
            if name in self._of_one_path() and self.several_baselines:
                raise RequestError(f"each baseline has its own {name}; ask for one baseline, or leave it out", "fields")
            if name == SPREAD and not self.several_baselines:
                raise RequestError(f"there is no {name} of one baseline; send several", "fields")
        return self


def _words(annotation: Any) -> list[str]:
    """Return the words of a Literal, or of one that is not all that a field may be; none of anything else."""
    if get_origin(annotation) is Union:
        return next((words for part in get_args(annotation) if (words := _words(part))), [])
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def shorten(value: object, most: int = 60) -> Any:
    """Return what a caller sent as an error quotes it."""
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return (
        value if len(text) <= most and isinstance(value, (str, int, float)) else text[:most] + "…" * (len(text) > most)
    )


def json_in(text: str | bytes, field: str | None) -> Any:
    """Return what a text of JSON holds: a field of a form, or a whole body where the field is None.

    Raises
    ------
    RequestError
        If it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if field is None:
            message = f"the body is not valid JSON ({error}); send one JSON object"
            raise RequestError(message, kind="NotJSON") from None
        raise RequestError(f"is not valid JSON ({error})", field) from None


def json_object(body: Any, kind: type[Request]) -> dict[str, Any]:
    """Return the fields of a body that JSON decodes to, or its bytes.

    Raises
    ------
    RequestError
        If it is no object, or holds what belongs into a form.
    """
    content = json_in(body, None) if isinstance(body, bytes) else body
    if not isinstance(content, dict):
        raise RequestError(
            f'the body must be a JSON object such as {{"{kind.input_field}": …}}, not {type(content).__name__}; '
            f"{kind.how_to_send}",
            kind="NotAnObject",
        )
    if "data" in content:
        raise RequestError(f"is a form field; in JSON use `{kind.input_field}`; {kind.how_to_send}", "data")
    return {str(name): value for name, value in content.items()}


def another_kind(kind: type[Request], name: str | None) -> RequestError:
    """Return the error that tells that something else is taken."""
    return RequestError(f"this archive takes {kind.takes}; {kind.how_to_send}", name, kind="AnotherKind")


PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM")
"""First bytes of a JPEG, PNG, WebP and BMP."""


def is_picture(value: object) -> bool:
    """Whether something is the bytes of a picture, by their first ones: what no other kind of input can be."""
    return isinstance(value, bytes) and value.startswith(PICTURES)
