"""The predictions endpoint as OpenAPI 3.1 describes it, made from the models of requests and the figures of answers.

An archive describes itself so (``openapi`` of its description), and ``docs/openapi.json`` has one endpoint for each
kind of input. https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from intgrads.answers.info import GROUP_FIGURES, OF_BASELINE, Output
from intgrads.answers.verified import Kept, Verified
from intgrads.errors import STATUS
from intgrads.formats.encodings import CONTENT_TYPES
from intgrads.outputs import Outputs
from intgrads.request import Request, Scale

Schema = dict[str, Any]

NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}

HEADERS = {
    "X-Intgrads-Convergence-Delta": "of each target and input, in the output's units; several with commas",
    "X-Intgrads-Attribution-Error": "the map's estimated error, a part of its size; several with commas",
    "X-Intgrads-Evaluations": "points at which the network was computed; several with commas",
    "X-Intgrads-Estimate": "seconds that the network was expected to compute, at least",
    "X-Intgrads-Seconds": "from reading the request to its encoded answer",
    "X-Intgrads-Integration-Seconds": "that the network computed",
}

ERROR: Schema = {
    "type": "object",
    "description": "what is wrong, and what to send instead",
    "required": ["code", "type", "message"],
    "properties": {
        "code": {"type": "integer", "description": "the HTTP status"},
        "type": {"type": "string", "description": "a stable word to branch on"},
        "message": TEXT,
        "field": {"type": ["string", "null"], "description": "the field at fault; TorchServe's own errors have none"},
    },
}


def endpoint(name: str, request: type[Request]) -> Schema:
    """Return the path item of an archive's predictions: what can be sent, and what comes back.

    Parameters
    ----------
    name : str
        The archive's, in its URL.
    request : type
        What is asked of it.
    """
    fields = _fields(request)
    as_form = {"type": "object", "properties": fields, "additionalProperties": False}
    as_json = {**as_form, "properties": {key: field for key, field in fields.items() if key != "data"}}
    raw = {"type": "string", "format": "binary"}
    alone = {"text/plain": {"schema": TEXT}} if "sequence" in fields else {"image/*": {"schema": raw}}
    answers = {
        content_type: {"schema": _answer(request) if format == "json" else TEXT if format == "html" else raw}
        for content_type, format in CONTENT_TYPES.items()
        if format in request.formats()
    }
    errors = {str(status): _refused(status) for status in sorted({400, 404, *STATUS.values()})}
    return {
        "post": {
            "operationId": f"attribute_{name}",
            "summary": f"Attributions of {request.takes}",
            "description": request.how_to_send,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": as_json},
                    "multipart/form-data": {"schema": as_form},
                    **alone,
                },
            },
            "responses": {"200": {"description": "the answer", "headers": _headers(), "content": answers}, **errors},
        }
    }


def openapi(archives: Mapping[str, type[Request]], version: str) -> Schema:
    """Return the description of a server's archives, by their names."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "intgrads", "version": version, "summary": "Attributions over HTTP"},
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "paths": {f"/predictions/{name}": endpoint(name, request) for name, request in archives.items()},
    }


def _fields(request: type[Request]) -> Schema:
    """Return the fields of a request: pydantic's own schemas, without titles, and nothing required but an input."""
    fields: Schema = request.model_json_schema(ref_template="#/{model}")["properties"]
    for field in fields.values():
        field.pop("title", None)
        # Nothing and null are the same: the archive's default, which may be another than the model's.
        field.pop("default", None)
    return fields


def _headers() -> Schema:
    return {name: {"description": said, "schema": TEXT} for name, said in HEADERS.items()}


def _refused(status: int) -> Schema:
    kinds = [kind for kind, own in STATUS.items() if own == status]
    return {
        "description": ", ".join(kinds) or ("no such archive" if status == 404 else "a request that is wrong"),
        "content": {"application/json": {"schema": ERROR}},
    }


def _answer(request: type[Request]) -> Schema:
    """Return the schema of an answer in JSON; of several texts, of a list of answers."""
    one = _one_answer(request)
    if "sequence" not in request.model_fields:
        return one
    several = {"type": "object", "required": ["answers"], "properties": {"answers": {"type": "array", "items": one}}}
    return {"anyOf": [one, {**several, "additionalProperties": False}]}


def _one_answer(request: type[Request]) -> Schema:
    output, verified, kept = (_plain(kind) for kind in (Output, Verified, Kept))
    names = {"type": "array", "items": TEXT}
    group: Schema = {
        "type": "object",
        "properties": {
            "kind": TEXT,
            "label": TEXT,
            "size": WHOLE,
            "parent": {"type": ["integer", "null"]},
            **{figure: _each({"type": ["number", "null"]}) for figure in GROUP_FIGURES.values()},
        },
        "additionalProperties": False,
    }
    told: Schema = {
        "model": TEXT,
        "warnings": names,
        "outputs": _plain(Outputs),
        "prediction": output,
        "top": {"type": "array", "items": output},
        "predicted_labels": names,
        "target_label": _each(TEXT),
        "target_class": _each(WHOLE),
        "target_score": _each({"type": ["number", "null"]}),
        "target_output": _each(NUMBER),
        "attributed": _plain(Scale),
        "against": {"anyOf": [TEXT, names, {"type": "null"}]},
        **{name: _each(FLAG if name == "converged" else NUMBER) for name in ("value", "difference", *OF_BASELINE)},
        "evaluations": WHOLE,
        "n_steps": WHOLE,
        "method": TEXT,
        "tolerance": {"type": ["number", "null"]},
        "precision": TEXT,
        "baseline": _each(TEXT),
        "seed": WHOLE,
        "baselines": {"type": "array", "items": {"type": "object"}},
        "groups": {"type": "array", "items": group},
        "verification": _each(verified),
        "kept": _each(kept),
    }
    if "sequence" in request.model_fields:
        told |= {"text": TEXT, "max_tokens": WHOLE, "tokens": names, "words": names}
    else:
        told |= {
            "picture_size": _numbers(2),
            "input_size": _numbers(2),
            "seen": _numbers(4),
            "score_threshold": NUMBER,
            "instances": {"type": "array", "items": {"type": "object"}},
            "target_instance": WHOLE,
            "target": TEXT,
        }
    # Tensors and small arrays, at whatever depth.
    arrays: Schema = {name: {} for name in (*request.tensors, *request.figures) if name not in told}
    return {
        "type": "object",
        "required": ["model", "warnings"],
        "properties": told | arrays,
        "additionalProperties": False,
    }


def _each(schema: Schema) -> Schema:
    """Return the schema of what depends on the targets: a list where the caller sent a list of them."""
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def _numbers(count: int) -> Schema:
    return {"type": "array", "items": NUMBER, "minItems": count, "maxItems": count}


def _plain(kind: Any) -> Schema:
    """Return the schema of a type of ours, without titles and references."""
    schema: Schema = TypeAdapter(kind).json_schema()
    for part in (schema, *schema.get("properties", {}).values()):
        part.pop("title", None)
    schema.pop("description", None)
    return schema
