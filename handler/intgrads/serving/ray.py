"""Ray Serve: archives behind the same URLs as TorchServe's, on one machine or on a cluster.

Each archive is an application of its own at ``/predictions/NAME``, with replicas that come and go with the load; beside
them one answers ``/ping`` and ``/ready``, and for names that there are not. The service is the same, and so are fields,
formats, errors and bytes. What TorchServe gets wrong is right here: fields in a query are read, a malformed form and a
body that is too large are told in JSON, and an archive that cannot be loaded says so at once.

Needs the extra ``ray``. https://docs.ray.io/en/latest/serve/index.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve
from starlette.datastructures import Headers
from starlette.formparsers import FormParser, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from intgrads.call import MOST_BYTES, PIECE, Call, Reply, pieces
from intgrads.errors import RequestError, said
from intgrads.serving.cluster import join
from intgrads.serving.served import Served, route

if TYPE_CHECKING:
    from ray.serve import Application

    from intgrads.service import Service

logger = logging.getLogger("ray.serve")

AT_ONCE = 100
"""Requests that a replica takes in, of which all but a batch wait. With few, a tenth of the requests a second is lost:
Ray offers what is not taken in again only after pauses that grow."""

READY_SECONDS, FIRST_SECONDS = 5.0, 15.0
"""For which a replica is waited for that is to tell whether it can answer: one that has done so before, and another."""


class Attributions:
    """A replica: an archive, loaded, and what is asked of it, in batches as the archive says.

    Parameters
    ----------
    archive : str
        The path of NAME.mar.
    name : str
        What it is called in its URL.
    cpus : float
        Cores that it has.
    """

    def __init__(self, archive: str, name: str, cpus: float) -> None:
        self.service: Service[Any] | None = None
        self.failure = ""
        # A failure is kept and told: Ray would try again for ever, and clients would wait for it.
        try:
            from intgrads.serving.loaded import loaded

            self.service, together, wait = loaded(Path(archive), cpus, name)
            batches: Any = self.answers
            batches.set_max_batch_size(together)
            batches.set_batch_wait_timeout_s(wait)
            logger.info("%s is ready on %s", name, self.service.device)
        except Exception as error:
            logger.exception("the archive could not be loaded")
            self.failure = said(error)

    def ready(self) -> str:
        """Return why it cannot answer; nothing where it can."""
        return self.failure

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        try:
            call = await to_call(request)
        except RequestError as error:
            return response(Reply.of_error(error))
        if self.service is None:
            return response(Reply.not_loaded(self.failure))
        if request.headers.get("describe") == "True" and call.body is None and call.form is None:
            return JSONResponse(self.service.describe())
        gone = threading.Event()
        try:
            # Ray cancels what a client no longer waits for; the network, in its thread, has to be told.
            return response(await self.answers(replace(call, gone=gone.is_set)))
        except asyncio.CancelledError:
            gone.set()
            raise

    @serve.batch(max_batch_size=1)
    async def answers(self, calls: list[Call]) -> list[Reply]:
        """Answer a batch."""
        assert self.service is not None
        replies = await asyncio.to_thread(self.service.answer, calls)
        for reply in replies:
            logger.info("request: %s", json.dumps(asdict(reply.account)))
        self.service.give_back_memory()
        return replies


class Front:
    """What is not about one archive: whether they can answer, and names that there are not.

    Parameters
    ----------
    names : sequence of str
        Of the archives.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.loaded = list(names), set[str]()

    async def __call__(self, request: Request) -> Response:
        """Answer ``/ping`` and ``/ready``, and anything else by what there is."""
        if request.url.path == "/ping":
            return JSONResponse({"status": "Healthy"})
        if request.url.path == "/ready":
            told = await asyncio.gather(*map(self._state, self.names))
            states = dict(zip(self.names, told, strict=True))
            return JSONResponse(states, 200 if all(state == "ready" for state in states.values()) else 503)
        routes = [route(name) for name in self.names]
        if request.url.path.rstrip("/") in routes:
            # Its own application would have answered.
            error = RequestError("this archive is not deployed; see `serve status`", kind="ModelNotLoaded")
            return response(Reply.of_error(error))
        message = f"there is no {request.url.path}; there are {', '.join(routes)}"
        body = {"code": 404, "type": "ModelNotFoundException", "message": message, "field": None}
        return JSONResponse(body, 404)

    async def _state(self, name: str) -> str:
        try:
            ready = serve.get_app_handle(name).ready.remote()
            failure = await asyncio.wait_for(ready, READY_SECONDS if name in self.loaded else FIRST_SECONDS)
            if failure:
                return f"failed: {failure}"
            self.loaded.add(name)
            return "ready"
        except TimeoutError:
            # The question waits behind requests. Of what has never told that it loaded, nothing is known.
            at_work = name in self.loaded and await _runs(name)
            return "ready" if at_work else "not ready: it does not answer yet"
        except Exception as error:
            return f"not ready: {type(error).__name__}"


async def _runs(name: str) -> bool:
    """Whether an archive has a replica that runs, as far as Ray knows."""
    try:
        status = await asyncio.wait_for(asyncio.to_thread(serve.status), READY_SECONDS)
        replicas = status.applications[name].deployments[Attributions.__name__].replica_states
    except Exception:  # no such application any more, or nobody who knows
        return False
    return any(state == "RUNNING" and count for state, count in replicas.items())


async def to_call(request: Request) -> Call:
    """Return a request as it came over HTTP as any server would.

    Raises
    ------
    RequestError
        If its body is too large, a form is malformed, or a field comes twice.
    """
    content_type, accept = (request.headers.get(name, "").lower() for name in ("content-type", "accept"))
    query = dict[str, str]()
    for name, value in request.query_params.multi_items():
        if name in query:
            raise RequestError("came twice in the address; send it once", name)
        query[name] = value
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise _too_large()
    if content_type.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        form = await _form(request)
        return Call(form=_together(form, query) or None, content_type=content_type, accept=accept)
    body = await _body(request)
    if not query or not body:
        return Call(body=body or None, form=query or None, content_type=content_type, accept=accept)
    if "json" in content_type or body.lstrip()[:1] == b"{":
        try:
            content = json.loads(body)
        except ValueError:
            content = None  # told by whoever reads it
        whole = _together(content, query) if isinstance(content, dict) else body
        return Call(body=whole, content_type=content_type, accept=accept)
    return Call(form=_together({"data": body}, query), content_type=content_type, accept=accept)


def _together(fields: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    for name in query:
        if name in fields:
            raise RequestError("came twice, in the address and in the body; send it once", name)
    return {**fields, **query}


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > MOST_BYTES:
                raise _too_large()
            pieces.append(piece)
    except ClientDisconnect:
        raise RequestError("the request broke off") from None
    return b"".join(pieces)


async def _form(request: Request) -> dict[str, bytes | str]:
    """Return the parts of a form, as bytes: whoever reads them tells what is no text."""
    content_type = request.headers["content-type"]
    try:
        if content_type.lower().startswith("multipart/"):
            # Starlette decodes parts, and guesses where they are no UTF-8. In Latin-1 each letter is a byte.
            headers = Headers({"content-type": f"{content_type}; charset=latin-1"})
            form = await MultiPartParser(headers, request.stream(), max_part_size=MOST_BYTES).parse()
        else:
            form = await FormParser(request.headers, request.stream()).parse()
    except RequestError:
        raise
    except Exception as error:
        # Starlette tells by several types; whatever it was, the caller sent it.
        detail = getattr(error, "message", None) or str(error) or type(error).__name__
        raise RequestError(f"the form cannot be read ({detail}); send it as `curl -F` does") from None
    parts: dict[str, bytes | str] = {}
    for name, value in form.multi_items():
        named = name.encode("latin-1", "replace").decode("utf-8", "replace")
        if named in parts:
            raise RequestError("came twice; send it once", named)
        parts[named] = value.encode("latin-1", "replace") if isinstance(value, str) else await value.read()
    return parts


def _too_large() -> RequestError:
    return RequestError(
        f"the request is larger than {MOST_BYTES // 2**20} MiB, the most that is taken; send a smaller picture",
        kind="PictureTooLarge",
    )


def response(reply: Reply) -> Response:
    """Return a reply as it leaves over HTTP, a large one in pieces."""
    if sum(map(len, reply.body)) <= PIECE:
        body = b"".join(reply.body)
        return Response(body, reply.status, headers=reply.headers, media_type=reply.content_type)

    return StreamingResponse(pieces(reply.body), reply.status, headers=reply.headers, media_type=reply.content_type)


def build(arguments: Mapping[str, Any]) -> Application:
    """Return the application of an archive, given what a :class:`.Served` has.

    ``import_path`` of a configuration file names it.
    """
    args = Served.model_validate(arguments)
    most = args.most_replicas or args.replicas
    scaling: dict[str, Any] = (
        {"num_replicas": args.replicas}
        if most == args.replicas
        else {"autoscaling_config": {"min_replicas": args.replicas, "max_replicas": max(most, args.replicas)}}
    )
    resources = {"num_cpus": args.cpus, "num_gpus": args.gpus}
    deployment: Any = serve.deployment(ray_actor_options=resources, max_ongoing_requests=AT_ONCE, **scaling)(
        Attributions
    )
    application: Application = deployment.bind(args.archive, args.called, args.cpus)
    return application


def front(args: Mapping[str, Any]) -> Application:
    """Return the application that answers what is not about one archive; ``names`` are the archives'."""
    deployment: Any = serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})(Front)
    application: Application = deployment.bind(list(args["names"]))
    return application


def run(archives: Sequence[Served], *, host: str, port: int, address: str | None = None) -> None:
    """Serve archives, on this machine or on the cluster at an address; return when all have loaded or failed."""
    # By default Ray ends its HTTP proxy where that has not started within five seconds, as on a busy machine.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    join(address)
    serve.start(http_options={"host": host, "port": port})
    # All at once: each loads in a process of its own.
    targets = [
        serve.RunTarget(build(one.model_dump()), name=one.called, route_prefix=route(one.called)) for one in archives
    ]
    names = [one.called for one in archives]
    serve.run_many([*targets, serve.RunTarget(front({"names": names}), name="front", route_prefix="/")])


def stop() -> None:
    """Stop serving, and Ray where :func:`run` started it."""
    import ray

    serve.shutdown()
    ray.shutdown()
