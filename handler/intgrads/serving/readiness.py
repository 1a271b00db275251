"""Whether an archive can answer: what TorchServe does not tell.

Its ``/ping`` is healthy before any worker runs, and its workers are READY also where the archive could not be loaded.
An archive that can answer describes itself; this asks for that, through the management API, and waits its turn behind
requests.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any

FAILURES = (OSError, ValueError, HTTPException, LookupError, TypeError)
"""What asking raises, whatever stands at the address."""


def served(management: str, key: str | None = None, seconds: float = 30) -> list[str] | str:
    """Return the names of the archives that a server has, or why it does not tell; the parameters as below."""
    try:
        return [str(one["modelName"]) for one in _asked(f"{management}/models", key, seconds)["models"]]
    except FAILURES as error:
        return _told(error)


def why_not(
    management: str, name: str, key: str | None = None, seconds: float = 30, *, busy: bool = False
) -> str | None:
    """Return why an archive cannot answer; None where it can.

    Parameters
    ----------
    management : str
        The URL of the management API.
    name : str
        The archive, as it is called in the URL.
    key : str, optional
        The API's token, where the server asks for one.
    seconds : float, default 30
        To wait for each answer.
    busy : bool, default False
        Whether one that says nothing of itself in this time can answer: it computes. One that could not be loaded
        says so at once.
    """
    place = f"{management}/models/{urllib.parse.quote(name, safe='')}"
    try:
        if not any(worker["status"] == "READY" for worker in _asked(place, key, seconds)[0]["workers"]):
            return "no worker is READY"
        try:
            described = _asked(f"{place}?customized=true", key, seconds)[0].get("customizedMetadata")
        except TimeoutError:
            if busy:
                return None
            raise
    except FAILURES as error:
        return _told(error)
    if not isinstance(described, dict) or "model" not in described:
        return described.get("error", "it does not describe itself") if isinstance(described, dict) else str(described)
    return None


def _asked(url: str, key: str | None, seconds: float) -> Any:
    request = urllib.request.Request(url)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=seconds) as reply:
        return json.load(reply)


def _told(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the management API answers {error.code}: {error.read().decode(errors='replace')[:200]}"
    return f"the management API does not answer: {error}"
