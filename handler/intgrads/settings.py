"""Settings of an archive: what ``archive.sh --set KEY=VALUE`` reaches. Each has one default, here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from intgrads.integral.quadrature import Method
from intgrads.outputs import Outputs

Resizing = Literal["crop", "squash", "pad"]
"""See :class:`intgrads.pictures.transform.PictureSpec`."""


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Triple = Annotated[tuple[Finite, Finite, Finite], BeforeValidator(_split)]
Size = Annotated[tuple[int, int], BeforeValidator(_split)]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
Devices = Annotated[tuple[Device, ...], BeforeValidator(_split), Field(min_length=1)]


def _read(value: object) -> object:
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


Chosen = Annotated[dict[str, str], BeforeValidator(_read)]

OF_KINDS = {
    "input_size": ("picture",),
    "mean": ("picture",),
    "std": ("picture",),
    "resize": ("picture",),
    "crop_pct": ("picture",),
    "outputs": ("picture", "text"),
    "max_picture_pixels": ("picture", "tensormask"),
    "max_tokens": ("text",),
    "max_text_characters": ("text",),
    "max_sequences": ("text",),
    "score_threshold": ("tensormask",),
    "min_size_test": ("tensormask",),
    "max_size_test": ("tensormask",),
}
"""Settings that only some kinds of input know, by the names of :data:`intgrads.kinds.KINDS`."""


class Settings(BaseModel):
    """Every setting, its default and its meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_steps: int = Field(50, ge=1, le=10_000, description="steps of a request that names none")
    max_n_steps: int = Field(1000, ge=1, le=10_000, description="most steps that a request may ask for")
    tolerance: float | None = Field(
        None,
        ge=0,
        le=1,
        description="tolerance of a request that names neither it nor `n_steps` nor `method`; 0 for none; if not the "
        "model's own: 0.05 for `timm:`, `demo-image` and `demo-text` unless `n_steps` or `method` is set, else none",
    )
    max_evaluations: int = Field(500, ge=9, le=100_000, description="most points of a refinement that names none")
    evaluations_limit: int = Field(
        5000, ge=9, le=100_000, description="most points of a refinement that a request may ask for"
    )
    max_targets: int = Field(20, ge=1, description="most target classes of one request")
    max_baselines: int = Field(32, ge=1, le=1000, description="most baselines of one request")
    method: Method = Field("gausslegendre", description="quadrature of a request that names none")
    memory_budget_mb: int = Field(
        2048, ge=64, description="memory for computing gradients; decides how many steps share a batch"
    )
    max_picture_pixels: int = Field(50_000_000, ge=1, description="most pixels of a picture that is sent")
    max_tokens: int = Field(
        512, ge=3, description="most tokens of a text, special ones included; fewer where the network takes fewer"
    )
    max_text_characters: int = Field(1_000_000, ge=1, description="most characters of a text that is sent")
    max_sequences: int = Field(100, ge=1, description="most texts of one request")
    max_answer_mb: int = Field(1024, ge=1, description="largest answer, before compression")
    response_timeout: int = Field(
        600, ge=1, description="seconds that one request may compute before it is answered with an error"
    )
    threads: int = Field(0, ge=0, description="CPU threads of a worker; 0 shares the cores among the workers")
    operators: Literal["measured", "plain"] | Chosen = Field(
        "measured",
        description="how layers are computed on a CPU: the ways `measured` to be fastest as the first worker loads, "
        "`plain`, all as PyTorch has them, or the JSON object that `describe` tells of another server",
    )
    devices: Devices | None = Field(
        None, description="devices to spread the steps of a request over, as cuda:0,cuda:1; else the worker's own"
    )
    outputs: Outputs | None = Field(
        None,
        description="what the outputs are: softmax, classes of which one is true; sigmoid, labels of which any may be; "
        "none, plain numbers; if not what the network's configuration says",
    )
    score_threshold: float = Field(
        0.5, ge=0, lt=1, description="probability over which an object counts as found, of a request that names none"
    )
    min_size_test: int | None = Field(
        None, ge=32, description="shorter side to which TensorMask's picture is resized, if not its configuration's"
    )
    max_size_test: int | None = Field(None, ge=32, description="longer side that it may have then")
    resize: Resizing | None = Field(
        None, description="how a picture comes to the network's size: `crop`, `squash` or `pad`, if not the model's own"
    )
    crop_pct: float | None = Field(
        None,
        ge=0.01,
        le=1,
        description="part of the resized picture's side that is kept, from 0.01 to 1, if not the model's own",
    )
    input_size: Size | None = Field(None, description="the network's input as HEIGHT,WIDTH, if not the model's own")
    mean: Triple | None = Field(None, description="mean of each channel on the scale 0 … 1, if not the model's own")
    std: Triple | None = Field(None, description="standard deviation, as `mean`")

    @property
    def most_evaluations(self) -> int:
        """Most points of a refinement that a request may ask for."""
        return max(self.max_evaluations, self.evaluations_limit)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.n_steps > self.max_n_steps:
            raise ValueError(f"n_steps {self.n_steps} is over max_n_steps {self.max_n_steps}; raise that too")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0 for every channel")
        if self.input_size is not None and min(self.input_size) < 1:
            raise ValueError("input_size must be at least 1,1")
        return self


def without_part(settings: Settings, kinds: Sequence[str]) -> list[str]:
    """Return the settings that were given and that play no part in an archive of some kinds of input."""
    given = sorted(settings.model_fields_set)
    return [name for name in given if name in OF_KINDS and not set(OF_KINDS[name]) & set(kinds)]
