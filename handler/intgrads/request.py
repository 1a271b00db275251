"""What a caller may ask: every field of a request is defined here, once.

A request reaches us as a :class:`Call`: the fields that the server took from the body, still raw, and the headers.
``parse_request`` turns it into an :class:`ImageRequest` or a :class:`TextRequest`, as the archive takes the one or the
other, or raises a :class:`RequestError` that names the field and the remedy.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from intgrads.baselines import ImageBaseline, TextBaseline
from intgrads.errors import RequestError
from intgrads.picture_groups import MOST_GROUPS, PictureGroups, SuperpixelMethod, callers_groups, segments, superpixels
from intgrads.pictures import Picture, PictureSpec, array_picture, decode_label_map, decode_picture
from intgrads.precision import Precision
from intgrads.quadrature import Method, Rule, quadrature
from intgrads.refinement import LEAST_REFINEMENT, Refinement
from intgrads.segmentation.instances import Instances
from intgrads.sentences import Sentence, decode_text
from intgrads.settings import Settings
from intgrads.text_groups import CharacterSpan, TextGroups, callers_spans, token_groups

Format = Literal["gzip", "safetensors", "npz", "json", "png", "html"]
FORMATS: tuple[str, ...] = get_args(Format)
TextFormat = Literal["gzip", "safetensors", "npz", "json", "html"]

CONTENT_TYPES: dict[str, Format] = {
    "application/gzip": "gzip",
    "application/x-gzip": "gzip",
    "application/x-safetensors": "safetensors",
    "application/x-npz": "npz",
    "application/json": "json",
    "image/png": "png",
    "text/html": "html",
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
    "group_masks",
    "pred_masks",
]
TENSOR_FIELDS: tuple[str, ...] = get_args(TensorField)

TextTensorField = Literal[
    "integrated_gradients",
    "intermediate_gradients",
    "step_sizes",
    "intermediates",
    "alphas",
    "output",
    "baseline_output",
]

Figure = Literal[
    "target_class",
    "convergence_delta",
    "local_error",
    "converged",
    "evaluations",
    "group_idg",
    "group_dividends",
    "group_values",
    "group_integrated_gradients",
]
"""Small tensors that come with every answer (about groups); naming them among the fields changes nothing."""

PictureFigure = Literal[Figure, "scores", "pred_classes", "pred_boxes"]
FIGURES: tuple[str, ...] = get_args(PictureFigure)

TextFigure = Literal[
    Figure,
    "tokens",
    "input_ids",
    "offsets",
    "truncated",
    "token_scores",
    "words",
    "word_offsets",
    "word_spans",
    "word_scores",
    "group_spans",
]

PICTURE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM")


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


_FIELDS = "the tensors to send, a list of names; default all of them, and none in json"
_FORMAT = "the answer's format; default gzip, or as `Accept` says"


class Request(BaseModel):
    """What every request may ask.

    Every field's description says what it takes; errors and the README quote it. A kind of request states what it takes
    besides, in :attr:`takes` and :attr:`how_to_send` for people, and what its tensors are called.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    takes: ClassVar[str]
    how_to_send: ClassVar[str]
    input_field: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]]
    """The large ones, sent where they are asked for: first the integral, then the gradient at each step."""
    figures: ClassVar[tuple[str, ...]]
    """The small ones that come with every answer."""

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
    baseline: Any = Field(description="where the path starts")
    seed: WholeNumber = Field(
        0, ge=0, lt=2**63, description="seed of the random baselines, a whole number of at least 0"
    )
    fields: list[Any] | None = Field(None, description=_FIELDS)
    format: Format = Field(description=_FORMAT)

    def nodes(self) -> Rule | Refinement:
        """Return the rule of quadrature that was asked for."""
        if self.tolerance is None:
            return quadrature(self.method, self.n_steps)
        return Refinement(self.tolerance, self.max_evaluations, self.n_steps)

    @property
    def most_steps(self) -> int:
        """Nodes that the answer may have."""
        return self.n_steps if self.tolerance is None else self.max_evaluations

    @property
    def several_targets(self) -> bool:
        """Whether the answer has an axis for the targets."""
        return isinstance(self.target_class, list)

    @property
    def several_inputs(self) -> bool:
        """Whether the answer is a list, one element for each input."""
        return False

    def sent_tensors(self) -> Sequence[str]:
        """Names of the tensors to send: all of them by default, none where the format has no room for them."""
        if self.format in ("png", "html") or (self.format == "json" and self.fields is None):
            return ()
        return self.tensors if self.fields is None else [name for name in self.tensors if name in self.fields]

    @classmethod
    def formats(cls) -> tuple[str, ...]:
        """Return the formats that an answer can have."""
        return get_args(cls.model_fields["format"].annotation)

    @classmethod
    def from_bytes(cls, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the fields of a body that is not a form."""
        raise NotImplementedError

    @classmethod
    def unused(cls, content: Mapping[str, Any]) -> list[str]:
        """Return notes on what was sent and is not used."""
        if "tolerance" in content:
            return ["`method` was not used: with a tolerance the nodes are refined"] if "method" in content else []
        if "max_evaluations" in content:
            return ["`max_evaluations` was not used: it bounds a refinement, which `tolerance` asks for"]
        return []

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
                f"got {_shorten(self.n_steps)}",
                "n_steps",
            )
        if not LEAST_REFINEMENT <= self.max_evaluations <= settings.max_evaluations:
            raise RequestError(
                f"must be a whole number from {LEAST_REFINEMENT} to {settings.max_evaluations}, "
                f"got {_shorten(self.max_evaluations)}",
                "max_evaluations",
            )
        return self


class ImageRequest(Request):
    """A request for attributions of a picture."""

    takes = "pictures"
    how_to_send = (
        "send a picture as `curl -T cat.jpg -H 'Content-Type: image/jpeg'`, as a form `curl -F data=@cat.jpg`, or as "
        "JSON with `img_data` or `image` and `-H 'Content-Type: application/json'`"
    )
    input_field = "img_data"
    tensors = TENSOR_FIELDS
    figures = FIGURES

    data: bytes | None = Field(None, description="the bytes of a JPEG, PNG, WebP or BMP (forms only)")
    image: str | bytes | None = Field(None, description="a JPEG, PNG, WebP or BMP in base64")
    img_data: Any = Field(None, description="an array (H, W, 3) in RGB or (3, H, W) in BGR, whole numbers 0 … 255")
    baseline: ImageBaseline = Field("black", description="where the path starts")
    fields: list[TensorField | PictureFigure] | None = Field(None, description=_FIELDS)
    segment: bool | None = Field(
        None, description="whether to find objects and their masks; default true where the archive has a TensorMask"
    )
    score_threshold: Annotated[float | None, BeforeValidator(_no_bool)] = Field(
        None, ge=0, lt=1, description="probability over which an object counts as found, 0 to 1"
    )
    groups: Any = Field(
        None,
        description="segments, superpixels, a label map (H, W) as whole numbers or a PNG, or a list of masks in "
        "COCO's run lengths; default none",
    )
    superpixel_method: SuperpixelMethod = Field("slic", description="how superpixels are cut")
    n_superpixels: WholeNumber | None = Field(
        None, ge=1, le=MOST_GROUPS, description="about how many superpixels; default one for a thousand pixels"
    )
    group_pixels: bool = Field(True, description="whether each pixel is a group of the family too")

    @classmethod
    def from_bytes(cls, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the fields of a body that is a picture, or JSON."""
        if _is_picture(body):
            return {"data": body}
        if "json" in content_type or body.lstrip()[:1] in (b"{", b"["):
            return _json_object(body, cls)
        if content_type.startswith("text/plain"):
            raise _another_kind(cls, None)
        return {"data": body}

    @classmethod
    def unused(cls, content: Mapping[str, Any]) -> list[str]:
        """Return notes on what was sent and is not used; see :meth:`Request.unused`."""
        notes = super().unused(content)
        if content.get("groups") != "superpixels":
            about = ("n_superpixels", "superpixel_method")
            notes += [f"`{name}` was not used: it is about superpixels" for name in about if name in content]
        return notes

    def check(self, settings: Settings) -> Self:
        """Return the request if what it asks fits together; see :meth:`Request.check`."""
        if self.format == "png" and isinstance(self.target_class, list) and len(self.target_class) > 1:
            raise RequestError("a png shows one target; send one, or another format", "target_class")
        if self.groups is None and "group_masks" in (self.fields or ()):
            raise RequestError("there are no group_masks without `groups`", "fields")
        if self.segment is False and "pred_masks" in (self.fields or ()):
            raise RequestError("there are no pred_masks with segment=false", "fields")
        return super().check(settings)

    def pixel_groups(
        self, picture: Picture, spec: PictureSpec, settings: Settings, found: Callable[[], Instances | None]
    ) -> PictureGroups | None:
        """Return the groups that were asked for, at the network's size.

        Parameters
        ----------
        picture : Picture
        spec : PictureSpec
        settings : Settings
        found : callable
            Finds the objects of the picture; None where the archive cannot.

        Raises
        ------
        RequestError
            If there are no such groups.
        """
        groups = self.groups
        if groups is None:
            return None
        view = spec.view(picture.size)
        if groups == "superpixels":
            return superpixels(spec.resize(picture), self.superpixel_method, self.n_superpixels, view.inside)
        if groups == "segments":
            instances = found()
            if instances is None:
                raise RequestError("this archive has no TensorMask to find segments; ask for superpixels", "groups")
            return segments(instances.masks, instances.labels, view)
        if isinstance(groups, str) and groups.lstrip()[:1] == "[":
            groups = _json_in(groups, "groups")
        elif isinstance(groups, str | bytes):
            if not _is_picture(groups):
                groups = _from_base64(groups, "groups", HOW_GROUPS)
            groups = decode_label_map(groups, "groups", settings.max_picture_pixels)
        return callers_groups(groups, view)

    def picture(self, settings: Settings) -> Picture:
        """Decode the picture that was sent.

        Raises
        ------
        RequestError
            If there is none, more than one, or it cannot be read.
        """
        given = [name for name in ("data", "image", "img_data") if getattr(self, name) is not None]
        if not given:
            raise RequestError(f"no picture was sent; {self.how_to_send}", self.input_field, type="NoPicture")
        if len(given) > 1:
            raise RequestError(f"send one picture, not {' and '.join(given)}", given[1])
        limit = settings.max_picture_pixels
        if self.data is not None:
            return decode_picture(self.data, "data", limit)
        if self.image is not None:
            return decode_picture(_from_base64(self.image, "image", HOW_PICTURES), "image", limit)
        return array_picture(self.img_data, "img_data", limit)


class DetectionRequest(ImageRequest):
    """A request for the objects of a picture, and perhaps for attributions of one of them."""

    target_instance: WholeNumber | None = Field(
        None, ge=0, description="which of this picture's detections to attribute, an index into them; default none"
    )
    target: Literal["class", "mask"] = Field(
        "class", description="what of the detection: its class's logit, or the mean logit of its mask"
    )
    precision: Literal["float32"] = Field("float32", description="of the network's arithmetic")

    @classmethod
    def unused(cls, content: Mapping[str, Any]) -> list[str]:
        """Return notes on what was sent and is not used: all that is about an attribution, where none was asked for."""
        if "target_instance" in content:
            return super().unused(content)
        kept = ("data", "image", "img_data", "fields", "format", "segment", "score_threshold", "precision")
        return [
            f"`{name}` was not used: it is about an attribution, which `target_instance` asks for"
            for name in content
            if name not in kept
        ]

    def sent_tensors(self) -> Sequence[str]:
        """Names of the tensors to send; without an attribution, masks alone."""
        sent = super().sent_tensors()
        return sent if self.target_instance is not None else [name for name in sent if name == "pred_masks"]

    def check(self, settings: Settings) -> Self:
        """Return the request if what it asks fits together; see :meth:`Request.check`."""
        if self.target == "mask" and self.target_class is not None:
            raise RequestError("a mask has no classes; leave target_class out, or ask for target=class", "target_class")
        if self.target_instance is None:
            if self.segment is False:
                raise RequestError("nothing is asked for: leave segment out, or send target_instance", "segment")
            of_an_attribution = {*TENSOR_FIELDS, *FIGURES} - {"pred_masks", "scores", "pred_classes", "pred_boxes"}
            for name in self.fields or ():
                if name in of_an_attribution:
                    raise RequestError(f"there is no {name} without an attribution; send target_instance", "fields")
        return super().check(settings)


class TextRequest(Request):
    """A request for attributions of one text or several."""

    takes = "text"
    how_to_send = (
        "send a text as `curl -T review.txt -H 'Content-Type: text/plain'`, as a form `curl -F data=@review.txt` or "
        "`-F sequence='…'`, or as JSON with `sequence` and `-H 'Content-Type: application/json'`"
    )
    input_field = "sequence"
    tensors = get_args(TextTensorField)
    figures = get_args(TextFigure)

    data: bytes | None = Field(None, description="a text file, UTF-8 (forms only)")
    sequence: Any = Field(None, description="a text, or (in JSON) a list of texts")
    baseline: TextBaseline = Field("pad", description="where the path starts")
    fields: list[TextTensorField | TextFigure] | None = Field(None, description=_FIELDS)
    groups: Any = Field(
        None,
        description="words, a list of spans [start, end] in characters, or a tree in brackets like "
        "(S (NP It) (VP works)); default none",
    )
    format: TextFormat = Field(description=_FORMAT)

    @classmethod
    def from_bytes(cls, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the fields of a body that is a text, or JSON; without a content type (gRPC) a brace tells JSON."""
        if "json" in content_type or (not content_type and body.lstrip()[:1] == b"{"):
            return _json_object(body, cls)
        return {"data": body}

    @property
    def several_inputs(self) -> bool:
        """Whether the answer is a list, one element for each text."""
        return isinstance(self.sequence, list)

    def token_groups(self, sentence: Sentence) -> TextGroups | None:
        """Return the groups that were asked for.

        Raises
        ------
        RequestError
            If they are none, or do not fit the text.
        """
        groups = self.groups
        if groups is None:
            return None
        if groups == "words":
            words = zip(sentence.words.texts, sentence.words.offsets.tolist(), strict=True)
            spans = [CharacterSpan("word", word, *offsets) for word, offsets in words]
        else:
            if isinstance(groups, str) and groups.lstrip()[:1] == "[":
                groups = _json_in(groups, "groups")
            spans = callers_spans(groups, sentence.text)
        return token_groups(spans, sentence.offsets, sentence.tokens)

    def texts(self, settings: Settings) -> list[str]:
        """Return the texts that were sent.

        Raises
        ------
        RequestError
            If there is none, both ways were used, or one is no text, empty or too long.
        """
        if self.data is not None and self.sequence is not None:
            raise RequestError("send one text, not data and sequence", "sequence")
        texts = self.sequence
        if self.data is not None:
            try:
                texts = decode_text(self.data, "data")
            except RequestError:
                if _is_picture(self.data):
                    raise _another_kind(type(self), "data") from None
                raise
        if texts is None:
            raise RequestError(f"no text was sent; {self.how_to_send}", self.input_field, type="NoText")
        listed = texts if isinstance(texts, list) else [texts]
        if not 1 <= len(listed) <= settings.max_sequences:
            raise RequestError(f"a list holds 1 to {settings.max_sequences} texts, got {len(listed)}", "sequence")
        for text in listed:
            if not isinstance(text, str):
                raise RequestError(f"must be a text or a list of texts, not {type(text).__name__}", "sequence")
            if len(text) > settings.max_text_characters:
                raise RequestError(
                    f"a text of {len(text)} characters is over the {settings.max_text_characters} this archive takes; "
                    "send a shorter one",
                    "sequence",
                    code=413,
                    type="TextTooLong",
                )
        return listed


REQUESTS: tuple[type[Request], ...] = (ImageRequest, DetectionRequest, TextRequest)
AnyRequest = TypeVar("AnyRequest", bound=Request)

FIELDS = DetectionRequest.model_fields


HOW_GROUPS = "must be segments, superpixels, a label map or masks; a PNG of one goes in base64, or in a form as a file"
HOW_PICTURES = "is not base64; send the file's bytes in base64, or the file itself as the form field `data`"


def _json_in(text: str, field: str) -> Any:
    """Return the list that a form carries as its JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"is not valid JSON ({error})", field) from None


def _from_base64(text: str | bytes, field: str, remedy: str) -> bytes:
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if raw.startswith(b"data:"):
        raw = raw.partition(b",")[2]
    try:
        decoded = base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise RequestError(remedy, field)
    return decoded


def parse_request(call: Call, settings: Settings, kind: type[AnyRequest]) -> tuple[AnyRequest, list[str]]:
    """Read a request; return it with notes on what of it was not used.

    Parameters
    ----------
    call : Call
    settings : Settings
    kind : type
        What the archive takes.

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
        ("fields", _as_list, 0, len(kind.tensors) + len(kind.figures)),
    ):
        value = content[name] = read(content.get(name))
        if isinstance(value, list) and not least <= len(value) <= most:
            raise RequestError(f"a list holds {least} to {most}, got {len(value)}", name)
    # JSON's null is how a program says "the default".
    content = {name: value for name, value in content.items() if value is not None}
    refined = "tolerance" in content
    notes = kind.unused(content)
    defaults = {
        "n_steps": LEAST_REFINEMENT if refined else settings.n_steps,
        "method": settings.method,
        "max_evaluations": settings.max_evaluations,
    }
    content = defaults | content
    if "format" not in content:
        content["format"] = _accepted(call.header("accept"), kind.formats())
    try:
        request = kind.model_validate(content)
    except ValidationError as error:
        raise _explain(error, kind) from None
    return request.check(settings), notes


def _content(call: Call, kind: type[Request]) -> dict[str, Any]:
    """Return the request's fields, whichever way they came."""
    content_type = call.header("content-type").lower()
    fields = {name: bytes(v) if isinstance(v, bytearray) else v for name, v in call.fields.items()}
    for name, value in fields.items():
        # TorchServe decodes a body, or a form's file, that says it is text.
        if isinstance(value, str) and (name == "data" or content_type.startswith("text")):
            fields[name] = value.encode("utf-8", "surrogatepass")
    if not fields:
        raise RequestError(
            f"the body is empty, or was sent without its content type; {kind.how_to_send}", type="EmptyBody"
        )
    if set(fields) == {"body"}:
        return _whole_body(fields["body"], content_type, kind)
    if set(fields) == {"data"}:
        # gRPC knows no content types: its one field holds a picture, a text or JSON.
        return _whole_body(fields["data"], content_type, kind)
    content: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, bytes) and name not in ("data", "image") and not (name == "groups" and _is_picture(value)):
            try:
                content[name] = value.decode()
            except UnicodeDecodeError:
                raise RequestError(
                    f"is not UTF-8 text; {kind.takes} in a file go into the field `data`", name
                ) from None
        else:
            content[name] = value
    return content


def _is_picture(value: object) -> bool:
    return isinstance(value, bytes) and value.startswith(PICTURE_SIGNATURES)


def _whole_body(body: Any, content_type: str, kind: type[Request]) -> dict[str, Any]:
    if isinstance(body, dict):
        if "data" in body:
            raise RequestError(f"is a form field; in JSON use `{kind.input_field}`; {kind.how_to_send}", "data")
        return {str(name): value for name, value in body.items()}
    if body is None or body in (b"", ""):
        raise RequestError(f"the body is empty; {kind.how_to_send}", type="EmptyBody")
    if isinstance(body, bytes):
        return kind.from_bytes(body, content_type)
    raise RequestError(
        f'the body must be a JSON object such as {{"{kind.input_field}": …}}, not {type(body).__name__}; '
        f"{kind.how_to_send}",
        type="NotAnObject",
    )


def _json_object(body: bytes, kind: type[Request]) -> dict[str, Any]:
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON ({error}); send one JSON object", type="NotJSON") from None
    return _whole_body(decoded, "application/json", kind)


def _explain(error: ValidationError, kind: type[Request]) -> RequestError:
    """Turn the first thing that pydantic found into an error that names the field and the remedy."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    message = first["msg"].removeprefix("Value error, ")
    if name == "target_class":
        message = "must be a label or an index"
    elif first["type"].startswith("int_"):
        message = "must be a whole number"
    return RequestError(f"{message}, got {_shorten(first['input'])!r}: {kind.model_fields[name].description}", name)


def _another_kind(kind: type[Request], name: str | None) -> RequestError:
    return RequestError(f"this archive takes {kind.takes}; {kind.how_to_send}", name, code=415, type="AnotherKind")


def _unknown_field(name: str, kind: type[Request]) -> RequestError:
    if kind is ImageRequest and name in DetectionRequest.model_fields:
        return RequestError(
            "this archive attributes a classifier, not detections; send target_class, or ask an archive made by "
            "./archive.sh tensormask",
            name,
            type="NoDetector",
        )
    if any(name in other.model_fields for other in REQUESTS):
        return _another_kind(kind, name)
    fields = kind.model_fields
    close = difflib.get_close_matches(name[:60], fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(fields)}"
    return RequestError(f"unknown field {_shorten(name)!r}; {hint}", _shorten(name), type="UnknownField")


def _shorten(value: object, most: int = 60) -> Any:
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return (
        value if len(text) <= most and isinstance(value, (str, int, float)) else text[:most] + "…" * (len(text) > most)
    )


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
            f"nothing we send is accepted by {_shorten(accept)!r}; accept one of "
            f"{', '.join(offered)}, or send the field `format`",
            "Accept",
            code=406,
            type="NotAcceptable",
        )
    return min(usable)[3]
