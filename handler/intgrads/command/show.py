"""``intgrads show``: the page of an answer's file, in the browser."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import warnings
import webbrowser
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from intgrads.client.result import SEVERAL, Result
from intgrads.command.said import Json, fail, tell, tell_json

DONE = (b"<!DOCTYPE html", b"\x89PNG")
"""How a page and a picture begin, which are shown as they are."""


def show(
    answer: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="An answer of any format.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", dir_okay=False, help="Write the page there instead of opening it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show an answer in the browser. What is html or png is opened as it is; of the others a page is made."""
    raw = answer.read_bytes()
    if raw.startswith(DONE):
        if out is not None:
            fail(f"{answer} is a page or a picture already; leave --out away")
        place = answer.absolute()
    else:
        page = _page(answer, raw)
        place = out or Path(tempfile.mkdtemp(prefix="intgrads-"), f"{answer.stem}.html")
        try:
            place.write_text(page, encoding="utf-8")
        except OSError as error:
            fail(f"{place}: {error.strerror}")
    opened = out is None and webbrowser.open(place.as_uri())
    if as_json:
        tell_json(page=str(place), opened=opened)
    elif out is None and not opened:
        tell(f"no browser was found here; open {place}")
    else:
        tell(str(place))


def _page(answer: Path, raw: bytes) -> str:
    try:
        result = read(raw)
    except ValueError as error:
        fail(f"{answer}: {error}")
    try:
        return result.page()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        fail(f"{answer}: it is no answer of ours, whose figures are not what their names say ({error})")


def read(raw: bytes) -> Result:
    """Read an answer of any format that has figures.

    Raises
    ------
    ValueError
        If it is none; with what to do.
    """
    if raw.startswith(b"\x1f\x8b"):
        return _gzip(raw)
    if raw.startswith(b"PK"):
        return _npz(raw)
    if raw.lstrip().startswith(b"{"):
        try:
            info: dict[str, Any] = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no answer in json: {error}") from None
        if "answers" in info:
            raise ValueError(SEVERAL)
        if "model" not in info:
            raise ValueError(f"it is no answer: {info['message']}" if "message" in info else "it is no answer")
        return Result(
            {name: np.asarray(info[name]) for name in ("word_scores", "integrated_grads") if name in info}, info
        )
    if raw[8:9] != b"{":
        raise ValueError("it is no answer, in none of the formats")
    return Result.read(raw)


def _gzip(raw: bytes) -> Result:
    import torch  # takes seconds, and no other format needs it

    try:
        with warnings.catch_warnings(action="ignore"):  # of what is no answer
            content = torch.load(io.BytesIO(gzip.decompress(raw)), weights_only=True)
    except Exception as error:
        # PyTorch's reader raises whatever it stumbles over.
        raise ValueError(f"it is no answer in gzip: {f'{error} '.splitlines()[0].strip()}") from None
    if not isinstance(content, dict) or "info" not in content:
        raise ValueError(SEVERAL if isinstance(content, dict) and "answers" in content else "it is no answer")
    arrays = {name: value.numpy() for name, value in content.items() if isinstance(value, torch.Tensor)}
    return Result(arrays, content["info"])


def _npz(raw: bytes) -> Result:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        info = json.loads(str(arrays.pop("info", "null")))
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"it is no answer in npz: {error}") from None
    if not isinstance(info, dict):
        raise ValueError(SEVERAL if "0.info" in arrays else "it is no answer")
    return Result(arrays, info)
