"""Requests at random, most of them bad, as the bytes that a socket sends; and whose each answer is."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from hypothesis import strategies as st
from intgrads.pictures.request import ImageRequest
from intgrads.texts.request import TextRequest
from PIL import Image, ImageCms

from shared.bad_requests import bomb, gif
from shared.toys import pixels

BOUNDARY = b"a-line-between-parts"
SMALL = pixels(12, 16)


# ------------------------------------------------------------------ pictures
def saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _pictures() -> dict[str, bytes]:
    """Return small pictures of every make that decoders treat in ways of their own."""
    rgb = Image.fromarray(SMALL)
    deep = Image.fromarray(SMALL[..., 0].astype(np.uint16) * 257)
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return {
        "JPEG": saved(rgb, "JPEG"),
        "progressive JPEG": saved(rgb, "JPEG", progressive=True),
        "JPEG of ink": saved(rgb.convert("CMYK"), "JPEG"),
        "grey JPEG": saved(rgb.convert("L"), "JPEG"),
        "JPEG with a profile": saved(rgb, "JPEG", icc_profile=profile),
        "JPEG with a false profile": saved(rgb, "JPEG", icc_profile=b"\xff" * 300),
        "PNG": saved(rgb, "PNG"),
        "palette": saved(rgb.convert("P"), "PNG"),
        "palette with transparency": saved(rgb.convert("P"), "PNG", transparency=3),
        "one bit": saved(rgb.convert("1"), "PNG"),
        "16 bits": saved(deep, "PNG"),
        "grey and alpha": saved(rgb.convert("LA"), "PNG"),
        "alpha": saved(rgb.convert("RGBA"), "PNG"),
        "PNG with a profile": saved(rgb, "PNG", icc_profile=profile),
        "animated PNG": saved(rgb, "PNG", **frames),
        "animated WebP": saved(rgb, "WEBP", **frames),
        "WebP": saved(rgb, "WEBP", lossless=True),
        "BMP": saved(rgb, "BMP"),
        "TIFF": saved(rgb, "TIFF"),
        "GIF": gif(),
        "bomb": bomb(60_000, 60_000),
        "bomb of one row": bomb(2**31 - 1, 1),
        "bomb without a side": bomb(0, 5),
    }


PICTURES = _pictures()


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes with some bits flipped, cut off, put in, or twice."""
    content = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "drop"])):
            case "flip":
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[place:]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=9))
            case "repeat":
                content[place:place] = content[place:]
            case _:
                del content[place : place + draw(st.integers(1, 40))]
    return bytes(content)


# ------------------------------------------------------------------ JSON
NUMBERS = st.sampled_from(
    ["0", "-0", "1", "-1", "2", "3.5", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "-Infinity", "9" * 400,
     "9" * 5000, "9223372036854775808", "18446744073709551616", "4294967296", "1E5", "00", "0x10"]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\u202e\u0000"', '""', '"null"', '"[]"', '"[1,2"', '"rest"',
        '"cat"', '"black"', '"pad"', '"regions"', '"superpixels"', '"words"', '"uniform:999999999"', '"uniform:-1"',
        '"json"', '"png"', '"__class__"', '"' + "x" * 20_000 + '"', '"a,b,,,c"', '"http://127.0.0.1:1/"',
    ]
)  # fmt: skip
DEEP = st.integers(1, 40_000).map(lambda depth: "[" * depth + "]" * depth)
SPANS = st.lists(st.lists(st.integers(-3, 40), min_size=0, max_size=3), max_size=6).map(json.dumps)
TREES = st.sampled_from(
    [json.dumps(tree) for tree in ("(" * 10_000 + "good" + ")" * 10_000, "(S " * 10_000, ")" * 9, "(S (NP it)", "()")]
)
COUNTS = st.one_of(
    st.lists(st.integers(-2, 2**70), max_size=5),
    st.text("0PYoono~`1", max_size=30),
    st.sampled_from(["o" * 10_000, "~" * 40, [2**63] * 3, [192], [0, 192], [1.5], ["1"], [2**64 - 191, 191], None]),
)
MASKS = st.lists(
    st.fixed_dictionaries({"size": st.sampled_from([[12, 16], [16, 12], [2**32, 2**32], [], None]), "counts": COUNTS}),
    max_size=3,
).map(json.dumps)
VALUES = st.one_of(
    NUMBERS,
    WORDS,
    DEEP,
    SPANS,
    TREES,
    MASKS,
    st.sampled_from(["null", "true", "false", "{}", "[]", "[[]]", '{"a":[]}']),
)
FIELDS = {
    "batches": sorted(ImageRequest.model_fields),
    "text": sorted(TextRequest.model_fields),
}
GOOD_INPUT = {"batches": f'"img_data": {json.dumps(SMALL.tolist())}', "text": '"sequence": "good, not bad"'}
LITTLE = '"n_steps": 1, "format": "json"'


@st.composite
def json_bodies(draw: st.DrawFn, model: str) -> bytes:
    """Draw JSON objects with fields that there are and values that they should not have."""
    pairs = [f'"{draw(st.sampled_from(FIELDS[model]))}": {draw(VALUES)}' for _ in range(draw(st.integers(1, 3)))]
    whole = "{" + ", ".join([GOOD_INPUT[model], LITTLE, *pairs]) + "}"
    text = st.just(whole.encode("utf-8", "surrogatepass"))
    return draw(damaged(text)) if draw(st.booleans()) else draw(text)


# ------------------------------------------------------------------ forms
@st.composite
def forms(draw: st.DrawFn, model: str) -> bytes:
    """Draw the parts of a form, well or badly put together."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from([*FIELDS[model], "data", "", "body", 'a\\"b', "é", "../x", "n" * 3000])).encode()
        content = draw(
            st.one_of(
                st.sampled_from(list(PICTURES.values())), VALUES.map(lambda v: v.encode("utf-8", "replace")),
                st.binary(max_size=30), st.sampled_from([b"1", b"json", b"good"]),
            )
        )  # fmt: skip
        head = draw(
            st.sampled_from(
                [
                    b'Content-Disposition: form-data; name="%s"',
                    b'Content-Disposition: form-data; name="%s"; filename="x.png"\r\nContent-Type: image/png',
                    b'Content-Disposition: form-data; name="%s"; filename=""',
                    b'Content-Disposition: form-data; name="%s"\r\nContent-Type: text/plain; charset=utf-16',
                    b'Content-Disposition: form-data; name="%s"\r\nContent-Transfer-Encoding: base64',
                    b'Content-Disposition: attachment; name="%s"',
                    b"Content-Type: text/plain; of=%s",
                    b"content-disposition: form-data; name=%s; filename*=UTF-8''%%ff",
                ]
            )
        )
        parts.append(b"--" + BOUNDARY + b"\r\n" + head % name + b"\r\n\r\n" + content + b"\r\n")
    whole = st.just(b"".join(parts) + draw(st.sampled_from([b"--" + BOUNDARY + b"--\r\n", b"", b"--", b"\r\n"])))
    return draw(damaged(whole)) if draw(st.integers(0, 3)) == 0 else draw(whole)


# ------------------------------------------------------------------ HTTP
@dataclass(frozen=True)
class Asked:
    """A request: of which kind it is, and the bytes of it."""

    kind: str
    raw: bytes
    count: int = 1
    """How many answers there should be."""
    ends: bool = False
    """Whether the server is told that no more will come: else it may wait for it."""


def http(
    model: str, body: bytes, headers: Sequence[tuple[str, str]] = (), version: str = "1.1", length: int | None = None
) -> bytes:
    """Return a request as it is sent, on a connection that is closed after it."""
    lines = [f"POST /predictions/{model} HTTP/{version}", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name == "Transfer-Encoding" for name, _ in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def chunked(body: bytes, size: int, how: str) -> bytes:
    """Return a body in chunks, whose sizes may be lies."""
    pieces = [body[k : k + size] for k in range(0, len(body), size)]
    whole = b"".join(b"%x\r\n%s\r\n" % (len(piece) + (how == "lies"), piece) for piece in pieces)
    return {"no end": whole, "no numbers": b"zz\r\n" + whole, "huge": b"ffffffffffffffff\r\n" + body}.get(
        how, whole + b"0\r\n\r\n"
    )


MODELS = st.sampled_from(["batches", "text"])
TYPES = st.sampled_from(
    ["image/png", "image/jpeg", "text/plain", "application/json", "application/octet-stream", "application/x-tar",
     "application/json; charset=utf-16", "text/plain; charset=nothing", "multipart/mixed", "", "*/*", "a/b; c=\"d"]
)  # fmt: skip
HEADERS = st.sampled_from(
    [
        [], [("Accept", "application/json")], [("Accept", "*/*;q=nan, image/png;q=1e400")], [("Accept", "," * 3000)],
        [("Accept", "x" * 3000)], [("Expect", "100-continue")], [("Content-Type", "text/html")],
        [("Content-Type", "image/png"), ("Content-Type", "application/json")], [("Accept", "image/png")] * 40,
        [("X-Long", "y" * 9000)], [(f"X-{k}", "z") for k in range(2000)], [("Content-Encoding", "gzip")],
        [("Content-Length", "3")], [("Content-Length", "-1")], [("Host", "")], [("describe", "True")],
        [("explain", "True")], [("Connection", "upgrade"), ("Upgrade", "h2c")], [("Transfer-Encoding", "gzip")],
        [("Authorization", "Bearer " + "k" * 500)], [("url_path", "../../etc")], [("\u00e9", "\u00e9")],
    ]
)  # fmt: skip


@st.composite
def pictures(draw: st.DrawFn) -> Asked:
    name = draw(st.sampled_from(sorted(PICTURES)))
    body = draw(damaged(st.just(PICTURES[name])))
    headers = [("Content-Type", draw(TYPES)), ("Accept", "application/json")]
    return Asked(f"picture: {name}", http("batches", body, headers))


@st.composite
def objects(draw: st.DrawFn) -> Asked:
    model = draw(MODELS)
    return Asked("JSON", http(model, draw(json_bodies(model)), [("Content-Type", "application/json")]))


@st.composite
def in_forms(draw: st.DrawFn) -> Asked:
    model = draw(MODELS)
    kind = draw(
        st.sampled_from(
            [f"multipart/form-data; boundary={BOUNDARY.decode()}"] * 6
            + ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other",
               "application/x-www-form-urlencoded", "multipart/form-data; boundary=" + "b" * 3000]
        )
    )  # fmt: skip
    return Asked("form", http(model, draw(forms(model)), [("Content-Type", kind)]))


@st.composite
def bytes_of_any_kind(draw: st.DrawFn) -> Asked:
    model = draw(MODELS)
    return Asked("bytes", http(model, draw(st.binary(max_size=300)), [("Content-Type", draw(TYPES))]))


@st.composite
def protocols(draw: st.DrawFn) -> Asked:
    """Draw what is wrong with the request around the body."""
    body = b"good, not bad" if draw(st.booleans()) else b'{"sequence": "good", "n_steps": 1, "format": "json"}'
    content_type = ("Content-Type", "text/plain" if body[:1] == b"g" else "application/json")
    little = [content_type, ("Accept", "application/json")]
    match draw(st.sampled_from(["headers", "HTTP/1.0", "chunked", "pipelining", "length", "versions", "target"])):
        case "headers":
            strange = draw(HEADERS)
            lies = any(name in ("Content-Length", "Transfer-Encoding") for name, _ in strange)
            return Asked("headers", http("text", body, [*little, *strange]), ends=lies)
        case "HTTP/1.0":
            return Asked("HTTP/1.0", http("text", body, little, "1.0"))
        case "chunked":
            how = draw(st.sampled_from(["well", "lies", "no end", "no numbers", "huge"]))
            size = draw(st.sampled_from([1, 7, 1000]))
            encoded = [*little, ("Transfer-Encoding", "chunked")]
            raw = http("text", chunked(body, size, how), encoded)
            return Asked("chunked" if how == "well" else "chunked badly", raw, ends=how != "well")
        case "pipelining":
            one = http("text", body, little).replace(b"Connection: close\r\n", b"")
            more = draw(st.integers(1, 3))
            return Asked("pipelining", one * more + http("text", body, little), count=more + 1)
        case "length":
            length = draw(st.sampled_from([0, 1, len(body) - 1, len(body) + 1, 2**31, 2**63, -1]))
            return Asked("length", http("text", body, little, length=length), ends=True)
        case "versions":
            return Asked("versions", http("text", body, little, draw(st.sampled_from(["0.9", "2.0", "1.11", "x", ""]))))
        case _:
            path = draw(
                st.sampled_from(["../../etc/passwd", "text/9.9", "%00", "%ff", "text?" + "n=1&" * 900, "x" * 5000])
            )
            return Asked("target", http(path, body, little))


REQUESTS = st.one_of(pictures(), objects(), in_forms(), bytes_of_any_kind(), protocols())


# ------------------------------------------------------------------ answers
@dataclass(frozen=True)
class Answered:
    """One answer: whose it is, its status, the type that an error states, and its body."""

    whose: str
    """``ours``, or TorchServe's: of its ``frontend`` in JSON, or with an ``empty`` body."""
    status: int
    type: str
    body: bytes


class _Received(io.BytesIO):
    """What a socket received, as http.client reads it: an answer, and those that follow."""

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return self

    def close(self) -> None:
        """Stay open."""


def send(url: str, asked: Asked, seconds: float = 120) -> list[Answered]:
    """Send a request and return the answers to it, or those that came until the server closed.

    TorchServe leaves a connection open that the caller asks it to close, so that each answer is looked for as it comes.
    """
    place = urlsplit(url)
    received, found = bytearray(), list[Answered]()
    with socket.create_connection((str(place.hostname), int(place.port or 80)), timeout=seconds) as connection:
        try:
            connection.sendall(asked.raw)
            if asked.ends:
                connection.shutdown(socket.SHUT_WR)
            while len(found) < asked.count and (piece := connection.recv(1 << 16)):
                received += piece
                found = answers(bytes(received))
        except (ConnectionResetError, BrokenPipeError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
    return found


def answers(received: bytes) -> list[Answered]:
    """Cut what was received into answers."""
    stream, found = _Received(received), list[Answered]()
    while stream.tell() < len(received):
        reply = HTTPResponse(stream)  # type: ignore[arg-type]
        try:
            reply.begin()
            body = reply.read()
        except HTTPException:
            break
        found.append(_whose(reply.status, body))
    return found


def _whose(status: int, body: bytes) -> Answered:
    try:
        content = json.loads(body)
    except ValueError:
        return Answered("empty" if not body else "ours", status, "", body)
    named = set(content) if isinstance(content, dict) else set()
    if status < 400:
        return Answered("ours", status, "", body)
    if named == {"code", "type", "message", "field"}:
        return Answered("ours", status, content["type"], body)
    return Answered("frontend" if named == {"code", "type", "message"} else "unknown", status, content["type"], body)


LEAK = re.compile(rb"Traceback|File \"|site-packages|/(home|usr|tmp|root|opt|work|var)/|\.py\b|\.java:\d|\bat org\.")
"""Of a path of the server's or of its programs."""
