"""The two clients: one that waits, and one for ``asyncio``."""

from __future__ import annotations

import asyncio
import time
import weakref
from functools import cached_property
from typing import Any, Self, Unpack
from urllib.parse import quote

import httpx

from intgrads.client.asking import DESCRIBE, FAILURES, Source, answer, body, description, not_reached, pauses
from intgrads.client.errors import ClientError, RefusedError
from intgrads.client.options import Options
from intgrads.client.result import Result

URL = "http://127.0.0.1:8080"


class _Asking:
    """Where a client asks, and how often.

    Parameters
    ----------
    url : str, default "http://127.0.0.1:8080"
        The server's, without a path.
    model : str, default "intgrads"
        The archive's name.
    key : str, optional
        The server's token, where it asks for one.
    timeout : float, default 600
        Seconds to wait for an answer.
    retries : int, default 5
        How often a busy server is asked again: pauses grow from half a second to 8.
    transport : optional
        httpx's own: for tests, proxies, certificates.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        model: str = "intgrads",
        key: str | None = None,
        timeout: float = 600,
        retries: int = 5,
        transport: Any = None,
    ) -> None:
        self.url, self.model, self.retries = url.rstrip("/"), model, retries
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._path = f"{self.url}/predictions/{quote(model, safe='')}"
        self._how: dict[str, Any] = {
            "headers": headers,
            "timeout": httpx.Timeout(timeout, connect=10),
            "transport": transport,
        }

    def _result(self, raw: bytes) -> Result:
        try:
            return Result.read(raw)
        except ValueError as error:
            raise ClientError(f"something else than our server answers at {self.url}: {error}") from None


class Client(_Asking):
    """Asks a server and waits for its answers. Threads may share one; ``with`` or :meth:`close` ends it."""

    @cached_property
    def _http(self) -> httpx.Client:
        http = httpx.Client(**self._how)
        # One that nobody closes ends its connections with itself.
        weakref.finalize(self, http.close)
        return http

    def attribute(self, source: Source | None = None, *, text: str | None = None, **options: Unpack[Options]) -> Result:
        """Ask for an attribution.

        Parameters
        ----------
        source : path, bytes, Image or ndarray, optional
            A picture, or a file with a text.
        text : str, optional
            A text.
        **options
            Fields of the request, as ``target_class="tabby"`` or ``tolerance=0.02``: see :class:`Options`.

        Raises
        ------
        RefusedError
            If the server answers with an error.
        NotReachedError
            If it does not answer.
        ClientError
            If there is nothing to send, or what answers is no server of ours.
        """
        return self._result(self.ask(source, text=text, format="safetensors", **options))

    def ask(
        self, source: Source | None = None, *, text: str | None = None, format: str, **options: Unpack[Options]
    ) -> bytes:
        """Ask for an answer in any format, as ``html``, and return its bytes; see :meth:`attribute`."""
        sent = body(source, text, options, format)
        for pause in pauses(self.retries):
            try:
                return self._once(sent)
            except RefusedError as error:
                if not error.passing:
                    raise
            time.sleep(pause)
        return self._once(sent)

    def describe(self) -> dict[str, Any]:
        """Return what the archive takes and gives: its labels, fields, choices and settings, as it tells them."""
        try:
            return description(answer(self._http.post(self._path, headers=DESCRIBE)), self.url)
        except FAILURES as error:
            raise not_reached(self.url, error) from None

    def _once(self, sent: bytes) -> bytes:
        try:
            return answer(self._http.post(self._path, content=sent))
        except FAILURES as error:
            raise not_reached(self.url, error) from None

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self.close()


class AsyncClient(_Asking):
    """The same for ``asyncio``: ``await client.attribute(…)``, many at a time by ``asyncio.gather``."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(limits=httpx.Limits(max_connections=None), **self._how)

    async def attribute(
        self, source: Source | None = None, *, text: str | None = None, **options: Unpack[Options]
    ) -> Result:
        """Ask for an attribution; see :meth:`Client.attribute`."""
        return self._result(await self.ask(source, text=text, format="safetensors", **options))

    async def ask(
        self, source: Source | None = None, *, text: str | None = None, format: str, **options: Unpack[Options]
    ) -> bytes:
        """Ask for an answer in any format; see :meth:`Client.ask`."""
        sent = body(source, text, options, format)
        for pause in pauses(self.retries):
            try:
                return await self._once(sent)
            except RefusedError as error:
                if not error.passing:
                    raise
            await asyncio.sleep(pause)
        return await self._once(sent)

    async def describe(self) -> dict[str, Any]:
        """Return what the archive takes and gives; see :meth:`Client.describe`."""
        try:
            return description(answer(await self._http.post(self._path, headers=DESCRIBE)), self.url)
        except FAILURES as error:
            raise not_reached(self.url, error) from None

    async def _once(self, sent: bytes) -> bytes:
        try:
            return answer(await self._http.post(self._path, content=sent))
        except FAILURES as error:
            raise not_reached(self.url, error) from None

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self.close()
