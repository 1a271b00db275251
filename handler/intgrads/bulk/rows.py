"""A row of the results: what is kept of the answer about one input, and in which columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from intgrads.answers.info import GROUP_FIGURES
from intgrads.bulk.inputs import Input
from intgrads.bulk.run import DONE, FAILED, Run
from intgrads.call import Reply
from intgrads.client.result import Result

OF_TARGET: dict[str, pa.DataType] = {
    "target_class": pa.int64(),
    "target_label": pa.string(),
    "value": pa.float64(),
    "baseline_value": pa.float64(),
    "difference": pa.float64(),
    "convergence_delta": pa.float64(),
    "local_error": pa.float64(),
    "attribution_error": pa.float64(),
    "converged": pa.bool_(),
}
"""What an answer tells of each target; lists where several were asked for."""

OF_TEXT: dict[str, pa.DataType] = {
    "tokens": pa.list_(pa.string()),
    "token_scores": pa.float64(),
    "token_scores_error": pa.float64(),
    "words": pa.list_(pa.string()),
    "word_scores": pa.float64(),
    "word_scores_error": pa.float64(),
}


def schema(run: Run, takes: str) -> pa.Schema:
    """Return the columns of a run's results, of an archive that takes ``pictures`` or ``text``."""

    def each(kind: pa.DataType) -> pa.DataType:
        return pa.list_(kind) if run.several_targets else kind

    columns: dict[str, pa.DataType] = {
        "row": pa.int64(),
        "id": pa.string(),
        "input": pa.string(),
        "status": pa.string(),
        "error_type": pa.string(),
        "error_field": pa.string(),
        "error": pa.string(),
        "seconds": pa.float64(),
        "prediction": pa.string(),
        "prediction_index": pa.int64(),
        "prediction_probability": pa.float64(),
        **{name: each(kind) for name, kind in OF_TARGET.items()},
        "evaluations": pa.int64(),
        "n_steps": pa.int64(),
        "warnings": pa.list_(pa.string()),
    }
    if takes == "text":
        # Scores of each token are lists already, and of each target lists of these.
        columns |= {name: kind if pa.types.is_list(kind) else each(pa.list_(kind)) for name, kind in OF_TEXT.items()}
    if run.options.get("groups") is not None or "groups" in run.fields_of_rows:
        of_group = {"kind": pa.string(), "label": pa.string(), "size": pa.int64(), "parent": pa.int64()}
        columns["groups"] = pa.list_(
            pa.struct(of_group | {name: each(pa.float64()) for name in GROUP_FIGURES.values()})
        )
    if run.tensors:
        columns["tensors"] = pa.string()
    columns["info"] = pa.string()
    return pa.schema(columns)


def row_of(number: int, input: Input, reply: Reply, seconds: float) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the row about an input, given the service's reply in safetensors, and the answer's arrays.

    Parameters
    ----------
    number : int
        Of the row.
    input : Input
    reply : Reply
    seconds : float
        That the worker took.
    """
    body = b"".join(reply.body)
    if reply.status != 200:
        told = json.loads(body)
        failed = failed_row(number, input, told["type"], told["message"], told["field"])
        return failed | {"seconds": seconds}, {}
    result = Result.read(body)
    info = result.info
    row = {**info, **_about(number, input), "status": DONE, "seconds": seconds, "info": json.dumps(info)}
    if "prediction" in info:
        predicted = info["prediction"]
        row |= {
            "prediction": predicted["label"],
            "prediction_index": predicted["index"],
            "prediction_probability": predicted["probability"],
        }
    return row, result.arrays


def failed_row(number: int, input: Input, type: str, message: str, field: str | None = None) -> dict[str, Any]:
    """Return the row about an input of which there is no answer."""
    return _about(number, input) | failure(type, message, field)


def failure(type: str, message: str, field: str | None = None) -> dict[str, Any]:
    """Return what a row tells of an error."""
    return {"status": FAILED, "error_type": type, "error_field": field, "error": message}


def _about(number: int, input: Input) -> dict[str, Any]:
    words = {"id": input.id, "input": input.text if input.path is None else input.path}
    # What is no Unicode is told with escapes.
    return {"row": number} | {
        name: (word or "").encode("utf-8", "backslashreplace").decode() for name, word in words.items()
    }


def table_of(row: Mapping[str, Any], run: Run, takes: str) -> pa.Table:
    """Return a row as a table; what it does not have is null.

    Raises
    ------
    pyarrow.ArrowInvalid, pyarrow.ArrowTypeError
        If a value is none of its column's: of rows with one target beside rows with several.
    """
    columns = schema(run, takes)
    return pa.table({column.name: pa.array([row.get(column.name)], column.type) for column in columns}, schema=columns)
