"""What may be asked about a text, or several."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field

from intgrads.errors import RequestError
from intgrads.formats.encodings import UndrawnFormat
from intgrads.request import BASELINE, FIELDS, FORMAT, Figure, Request, json_object, names_of_baselines
from intgrads.settings import Settings
from intgrads.texts.baselines import TEXT_BASELINES, TextBaseline

TextTensorField = Literal[
    "integrated_gradients",
    "attribution_error_map",
    "baseline_spread",
    "intermediate_gradients",
    "step_sizes",
    "intermediates",
    "alphas",
    "output",
    "baseline_output",
]

TextFigure = Literal[
    Figure,
    "tokens",
    "input_ids",
    "offsets",
    "truncated",
    "token_scores",
    "token_scores_error",
    "token_scores_spread",
    "words",
    "word_offsets",
    "word_spans",
    "word_scores",
    "word_scores_error",
    "word_scores_spread",
    "group_spans",
]


class TextRequest(Request):
    """A request for attributions of one text or several."""

    takes = "text"
    how_to_send = (
        "send a text as `curl -T review.txt -H 'Content-Type: text/plain'`, as a form `curl -F data=@review.txt` or "
        "`--form-string sequence='…'`, or as JSON with `sequence` and `-H 'Content-Type: application/json'`"
    )
    input_field = "sequence"
    integral = "integrated_gradients"
    gradients = "intermediate_gradients"
    tensors = get_args(TextTensorField)
    figures = get_args(TextFigure)

    data: bytes | None = Field(None, description="a text file, UTF-8 (forms only)")
    sequence: Any = Field(None, description="a text, or (in JSON) a list of texts")
    baseline: Annotated[TextBaseline | str | list[str], BeforeValidator(names_of_baselines(TEXT_BASELINES))] = Field(
        "pad", description=BASELINE
    )
    baseline_data: Any = Field(
        None, description="a text of the caller's own to start from, or (in JSON) a list of texts; default none"
    )
    fields: list[TextTensorField | TextFigure] | None = Field(None, description=FIELDS)
    groups: Any = Field(
        None,
        description="words, a list of spans [start, end] in characters, or a tree in brackets like "
        "(S (NP It) (VP works)); default none",
    )
    format: UndrawnFormat = Field(description=FORMAT)

    @classmethod
    def from_bytes(cls, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the fields of a body that is a text, or JSON; without a content type (gRPC) a brace tells JSON."""
        if "json" in content_type or (not content_type and body.lstrip()[:1] == b"{"):
            return json_object(body, cls)
        return {"data": body}

    def check(self, settings: Settings) -> Self:
        """Return the request if what it asks fits together; see :meth:`Request.check`."""
        if self.several_inputs and self.groups not in (None, "words"):
            raise RequestError("spans and a tree are of one text; with a list of texts send `words`", "groups")
        return super().check(settings)

    @property
    def several_inputs(self) -> bool:
        """Whether the answer is a list, one element for each text."""
        return isinstance(self.sequence, list)
