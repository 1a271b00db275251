"""Reading a request: from a call, whichever way its fields came, to what was asked.

``read_request`` returns a request of the kind that the archive takes, or raises a :class:`RequestError` that names the
field and the remedy.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from intgrads.baselines import DATA, is_one_array
from intgrads.call import Call
from intgrads.errors import RequestError
from intgrads.formats.encodings import CONTENT_TYPES
from intgrads.integral.refinement import LEAST_REFINEMENT
from intgrads.kinds import KINDS
from intgrads.request import MOST_AGAINST, Request, json_object, shorten
from intgrads.settings import Settings

AnyRequest = TypeVar("AnyRequest", bound=Request)


def read_request(
    call: Call, settings: Settings, kind: type[AnyRequest], defaults: Mapping[str, Any] = MappingProxyType({})
) -> tuple[AnyRequest, list[str]]:
    """Read a request; return it with notes on what of it was not used.

    Parameters
    ----------
    call : Call
    settings : Settings
    kind : type
        What the archive takes.
    defaults : mapping
        Fields whose defaults in this archive are not the kind's own.

    Raises
    ------
    RequestError
        If a field is unknown or out of its range; the first such field is named.
    """
    content = _content(call, kind)
    # Told before pydantic sees them: it makes an error for each of a million wrong names.
    for name in content:
        if name not in kind.model_fields:
            raise _unknown_field(name, kind)
    for name, read, least, most in (
        ("target_class", _as_target, 1, settings.max_targets),
        ("against", _as_target, 1, MOST_AGAINST),
        ("baseline", _as_names, 1, settings.max_baselines),
        (DATA, _as_target, 1, settings.max_baselines),
        ("fields", _as_list, 0, len(kind.tensors) + len(kind.figures)),
    ):
        value = content[name] = read(content.get(name))
        if name == DATA and is_one_array(value):
            raise RequestError("the array (H, W, 3) of a single picture stands in a list of its own: [array]", name)
        if isinstance(value, list) and not least <= len(value) <= most:
            raise RequestError(f"a list holds {least} to {most}, got {len(value)}", name)
    # JSON's null is how a program says "the default".
    content = {name: value for name, value in content.items() if value is not None}
    # What a caller says of the nodes is obeyed; the archive's tolerance is for those who say nothing.
    if settings.tolerance and not {"tolerance", "n_steps", "method"} & set(content):
        content["tolerance"] = settings.tolerance
    refined = "tolerance" in content
    notes = kind.unused(content, refined)
    content = {
        "n_steps": LEAST_REFINEMENT if refined else settings.n_steps,
        "method": settings.method,
        "max_evaluations": settings.max_evaluations,
        **defaults,
        **content,
    }
    if "format" not in content:
        content["format"] = _accepted(call.accept, kind.formats())
    try:
        request = kind.model_validate(content)
    except ValidationError as error:
        raise _explain(error, kind) from None
    return request.check(settings), notes


def _content(call: Call, kind: type[Request]) -> dict[str, Any]:
    """Return the request's fields, whichever way they came."""
    if call.form is None:
        if call.body in (None, b"", ""):
            raise RequestError(
                f"the body is empty, or was sent without its content type; {kind.how_to_send}", kind="EmptyBody"
            )
        if isinstance(call.body, bytes):
            return kind.from_bytes(call.body, call.content_type)
        return json_object(call.body, kind)
    content: dict[str, Any] = {}
    for name, value in call.form.items():
        if isinstance(value, bytes) and not kind.is_file(name, value):
            try:
                content[name] = value.decode()
            except UnicodeDecodeError:
                raise RequestError(
                    f"is not UTF-8 text; {kind.takes} in a file go into the field `data`", name
                ) from None
        else:
            content[name] = value
    return content


def _as_target(value: object) -> object:
    """In a form a list arrives as its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _as_names(value: object) -> object:
    """In a form a list of baselines is separated by commas, or its JSON text."""
    if isinstance(value, str) and "," in value and not value.lstrip().startswith("["):
        return _as_list(value)
    return _as_target(value)


def _as_list(value: object) -> object:
    """In a form a list of names is separated by commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _explain(error: ValidationError, kind: type[Request]) -> RequestError:
    """Turn the first thing that pydantic found into an error that names the field and the remedy."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    message = first["msg"].removeprefix("Value error, ")
    if name in ("target_class", "against"):
        message = "must be a label or an index"
    elif first["type"].startswith("int_"):
        message = "must be a whole number"
    return RequestError(f"{message}, got {shorten(first['input'])!r}: {kind.model_fields[name].description}", name)


def _unknown_field(name: str, kind: type[Request]) -> RequestError:
    for other in KINDS:
        if name in other.request.model_fields:
            return other.request.refused_by(kind, name)
    fields = kind.model_fields
    close = difflib.get_close_matches(name[:60], fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(fields)}"
    return RequestError(f"unknown field {shorten(name)!r}; {hint}", shorten(name), kind="UnknownField")


def _accepted(accept: str, formats: Sequence[str]) -> str:
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
    offered = {kind: format for kind, format in CONTENT_TYPES.items() if format in formats}
    for place, (content_type, format) in enumerate(offered.items()):
        # The most specific range that covers a content type states its quality.
        ranges = (content_type, content_type.split("/")[0] + "/*", "*/*")
        specific = next((k for k, kind in enumerate(ranges) if kind in qualities), None)
        if specific is not None and qualities[ranges[specific]] > 0:
            usable.append((-qualities[ranges[specific]], specific, place, format))
    if not usable:
        raise RequestError(
            f"nothing we send is accepted by {shorten(accept)!r}; accept one of "
            f"{', '.join(offered)}, or send the field `format`",
            "Accept",
            kind="NotAcceptable",
        )
    return min(usable)[3]
