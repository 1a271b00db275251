"""What a caller may ask: every field of a request is defined here, once.

A request reaches us as a :class:`Call`: the fields that the server took from the body, still raw, and the headers.
``parse_request`` turns it into an :class:`ImageRequest` or raises a :class:`RequestError` that names the field and the
remedy.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from intgrads.baselines import ImageBaseline
from intgrads.errors import RequestError
from intgrads.pictures import Picture, array_picture, decode_picture
from intgrads.precision import Precision
from intgrads.quadrature import Method, Rule, quadrature
from intgrads.refinement import LEAST_REFINEMENT, Refinement
from intgrads.settings import Settings

Format = Literal["gzip", "safetensors", "npz", "json", "png"]
FORMATS: tuple[str, ...] = get_args(Format)

CONTENT_TYPES: dict[str, Format] = {
    "application/gzip": "gzip",
    "application/x-gzip": "gzip",
    "application/x-safetensors": "safetensors",
    "application/x-npz": "npz",
    "application/json": "json",
    "image/png": "png",
}
"""Content types of an ``Accept`` header, the first of each format being the one that answers carry."""

TensorField = Literal[
    "integrated_grads",
    "integrated_directional_grads",
    "step_sizes",
    "intermediates",
    "alphas",
    "output",
    "baseline_output",
]
TENSOR_FIELDS: tuple[str, ...] = get_args(TensorField)

Figure = Literal["target_class", "convergence_delta", "local_error", "converged", "evaluations"]
"""Small tensors that come with every answer; naming them among the fields changes nothing."""
FIGURES: tuple[str, ...] = get_args(Figure)

PICTURE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM")

HOW_TO_SEND = (
    "send a picture as `curl -T cat.jpg -H 'Content-Type: image/jpeg'`, as a form `curl -F data=@cat.jpg`, or as JSON "
    "with `img_data` or `image` and `-H 'Content-Type: application/json'`"
)


@dataclass(frozen=True)
class Call:
    """One request as the server hands it over.

    Attributes
    ----------
    fields : mapping of str to object
        Parts of a form by their names, or the whole body under ``body``; bytes, text, or what the server has
        already decoded from JSON.
    headers : mapping of str to str
        In the caller's spelling.
    """

    fields: Mapping[str, Any]
    headers: Mapping[str, str]

    @cached_property
    def _headers(self) -> dict[str, str]:
        return {str(k).lower(): v for k, v in self.headers.items() if isinstance(v, str)}

    def header(self, name: str) -> str:
        """Return a header whatever its spelling; empty where there is none."""
        return self._headers.get(name.lower(), "")

    @property
    def is_grpc(self) -> bool:
        """Whether the call came by gRPC, which carries no ``Host`` header and cannot take an answer in pieces."""
        return "host" not in self._headers


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _as_target(value: object) -> object:
    """In a form a list arrives as its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _as_list(value: object) -> object:
    """In a form a list of names is separated by commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


WholeNumber = Annotated[int, BeforeValidator(_no_bool)]
Target = Annotated[int, Field(strict=True)] | Annotated[str, Field(max_length=1000)]


class ImageRequest(BaseModel):
    """A request for attributions of a picture.

    Every field's description says what it takes; errors and the README quote it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    data: bytes | None = Field(None, description="the bytes of a JPEG, PNG, WebP or BMP (forms only)")
    image: str | bytes | None = Field(None, description="a JPEG, PNG, WebP or BMP in base64")
    img_data: Any = Field(None, description="an array (H, W, 3) in RGB or (3, H, W) in BGR, whole numbers 0 … 255")
    target_class: Target | list[Target] | None = Field(
        None, description="a label, an index, or a list of them; default the predicted class"
    )
    n_steps: WholeNumber = Field(description="quadrature nodes, a whole number of at least 1")
    method: Method = Field(description="the rule of quadrature")
    tolerance: Annotated[float | None, BeforeValidator(_no_bool)] = Field(
        None,
        gt=0,
        le=1,
        description="refine the nodes until the local error is at most this part of the difference, 0 to 1",
    )
    max_evaluations: WholeNumber = Field(description="most points of a refinement, a whole number of at least 17")
    precision: Precision = Field("float32", description="of the network's arithmetic")
    baseline: ImageBaseline = Field("black", description="where the path starts")
    seed: WholeNumber = Field(
        0, ge=0, lt=2**63, description="seed of the random baseline, a whole number of at least 0"
    )
    fields: list[TensorField | Figure] | None = Field(
        None, description="the tensors to send, a list of names; default all of them, and none in json"
    )
    format: Format = Field(description="the answer's format; default gzip, or as `Accept` says")

    def nodes(self) -> Rule | Refinement:
        """Return the rule of quadrature that was asked for."""
        if self.tolerance is None:
            return quadrature(self.method, self.n_steps)
        return Refinement(self.tolerance, self.max_evaluations, self.n_steps)

    @property
    def most_steps(self) -> int:
        """Nodes that the answer may have."""
        return self.n_steps if self.tolerance is None else self.max_evaluations

    def picture(self, settings: Settings) -> Picture:
        """Decode the picture that was sent.

        Raises
        ------
        RequestError
            If there is none, more than one, or it cannot be read.
        """
        given = [name for name in ("data", "image", "img_data") if getattr(self, name) is not None]
        if not given:
            raise RequestError(f"no picture was sent; {HOW_TO_SEND}", "img_data", type="NoPicture")
        if len(given) > 1:
            raise RequestError(f"send one picture, not {' and '.join(given)}", given[1])
        limit = settings.max_picture_pixels
        if self.data is not None:
            return decode_picture(self.data, "data", limit)
        if self.image is not None:
            return decode_picture(_from_base64(self.image), "image", limit)
        return array_picture(self.img_data, "img_data", limit)


FIELDS = ImageRequest.model_fields


def _from_base64(text: str | bytes) -> bytes:
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if raw.startswith(b"data:"):
        raw = raw.partition(b",")[2]
    try:
        decoded = base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise RequestError(
            "is not base64; send the file's bytes in base64, or the file itself as the form field `data`", "image"
        )
    return decoded


def parse_request(call: Call, settings: Settings) -> tuple[ImageRequest, list[str]]:
    """Read a request; return it with notes on what of it was not used.

    Raises
    ------
    RequestError
        If a field is unknown or out of its range; the first such field is named.
    """
    content = _content(call)
    # Told before pydantic sees them: it makes an error for each of a million wrong names.
    for name in content:
        if name not in FIELDS:
            raise _unknown_field(name)
    for name, read, least, most in (
        ("target_class", _as_target, 1, settings.max_targets),
        ("fields", _as_list, 0, len(TENSOR_FIELDS) + len(FIGURES)),
    ):
        value = content[name] = read(content.get(name))
        if isinstance(value, list) and not least <= len(value) <= most:
            raise RequestError(f"a list holds {least} to {most}, got {len(value)}", name)
    # JSON's null is how a program says "the default".
    content = {name: value for name, value in content.items() if value is not None}
    refined = "tolerance" in content
    notes = []
    if refined and "method" in content:
        notes.append("`method` was not used: with a tolerance the nodes are refined")
    if not refined and "max_evaluations" in content:
        notes.append("`max_evaluations` was not used: it bounds a refinement, which `tolerance` asks for")
    defaults = {
        "n_steps": LEAST_REFINEMENT if refined else settings.n_steps,
        "method": settings.method,
        "max_evaluations": settings.max_evaluations,
    }
    content = defaults | content
    if "format" not in content:
        content["format"] = _accepted(call.header("accept"))
    try:
        request = ImageRequest.model_validate(content)
    except ValidationError as error:
        raise _explain(error) from None
    least = 2 if request.method == "riemann_trapezoid" else 1
    if not least <= request.n_steps <= settings.max_n_steps:
        raise RequestError(
            f"must be a whole number from {least} to {settings.max_n_steps} for {request.method}, "
            f"got {_shorten(request.n_steps)}",
            "n_steps",
        )
    if not LEAST_REFINEMENT <= request.max_evaluations <= settings.max_evaluations:
        raise RequestError(
            f"must be a whole number from {LEAST_REFINEMENT} to {settings.max_evaluations}, "
            f"got {_shorten(request.max_evaluations)}",
            "max_evaluations",
        )
    if request.format == "png" and isinstance(request.target_class, list) and len(request.target_class) > 1:
        raise RequestError("a png shows one target; send one, or another format", "target_class")
    return request, notes


def _content(call: Call) -> dict[str, Any]:
    """Return the request's fields, whichever way the picture came."""
    fields = {name: bytes(v) if isinstance(v, bytearray) else v for name, v in call.fields.items()}
    if not fields:
        raise RequestError(f"the body is empty, or was sent without its content type; {HOW_TO_SEND}", type="EmptyBody")
    if set(fields) == {"body"}:
        return _whole_body(fields["body"], call.header("content-type"))
    if set(fields) == {"data"} and not _is_picture(fields["data"]):
        # gRPC knows no content types: its one field holds a picture or JSON.
        return _whole_body(fields["data"], call.header("content-type"))
    content: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, bytes) and name not in ("data", "image"):
            try:
                content[name] = value.decode()
            except UnicodeDecodeError:
                raise RequestError("is not UTF-8 text; a picture goes into the field `data`", name) from None
        else:
            content[name] = value
    return content


def _is_picture(value: object) -> bool:
    return isinstance(value, bytes) and value.startswith(PICTURE_SIGNATURES)


def _whole_body(body: Any, content_type: str) -> dict[str, Any]:
    if isinstance(body, dict):
        if "data" in body:
            raise RequestError("is a form field; in JSON a picture goes into `image` or `img_data`", "data")
        return {str(name): value for name, value in body.items()}
    if body is None or body in (b"", ""):
        raise RequestError(f"the body is empty; {HOW_TO_SEND}", type="EmptyBody")
    if isinstance(body, bytes) and not _is_picture(body):
        looks_like_json = body.lstrip()[:1] in (b"{", b"[")
        if "json" in content_type.lower() or looks_like_json:
            try:
                decoded = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise RequestError(
                    f"the body is not valid JSON ({error}); send one JSON object", type="NotJSON"
                ) from None
            return _whole_body(decoded, content_type)
        return {"data": body}
    if isinstance(body, bytes):
        return {"data": body}
    raise RequestError(
        f'the body must be a JSON object such as {{"img_data": …}} or a picture, not {type(body).__name__}',
        type="NotAnObject",
    )


def _explain(error: ValidationError) -> RequestError:
    """Turn the first thing that pydantic found into an error that names the field and the remedy."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    message = first["msg"].removeprefix("Value error, ")
    if name == "target_class":
        message = "must be a label or an index"
    elif first["type"].startswith("int_"):
        message = "must be a whole number"
    return RequestError(f"{message}, got {_shorten(first['input'])!r}: {FIELDS[name].description}", name)


def _unknown_field(name: str) -> RequestError:
    close = difflib.get_close_matches(name[:60], FIELDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(FIELDS)}"
    return RequestError(f"unknown field {_shorten(name)!r}; {hint}", _shorten(name), type="UnknownField")


def _shorten(value: object, most: int = 60) -> Any:
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return (
        value if len(text) <= most and isinstance(value, (str, int, float)) else text[:most] + "…" * (len(text) > most)
    )


def _accepted(accept: str) -> Format:
    """Return the format that an ``Accept`` header prefers among those we have (RFC 9110, section 12.5.1)."""
    qualities: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = [piece.strip() for piece in part.split(";")]
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        qualities[kind or "*/*"] = quality
    usable = []
    for place, (content_type, format) in enumerate(CONTENT_TYPES.items()):
        # The most specific range that covers a content type states its quality.
        ranges = (content_type, content_type.split("/")[0] + "/*", "*/*")
        specific = next((k for k, kind in enumerate(ranges) if kind in qualities), None)
        if specific is not None and qualities[ranges[specific]] > 0:
            usable.append((-qualities[ranges[specific]], specific, place, format))
    if not usable:
        raise RequestError(
            f"nothing we send is accepted by {_shorten(accept)!r}; accept one of "
            f"{', '.join(dict.fromkeys(CONTENT_TYPES))}, or send the field `format`",
            "Accept",
            code=406,
            type="NotAcceptable",
        )
    return min(usable)[3]
