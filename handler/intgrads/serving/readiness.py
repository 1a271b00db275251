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


def why_not(management: str, name: str, key: str | None = None, seconds: float = 30) -> str | None:
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
    """

    def ask(path: str) -> Any:
        request = urllib.request.Request(f"{management}/models/{path}")
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=seconds) as reply:
            return json.load(reply)[0]

    try:
        place = urllib.parse.quote(name, safe="")
        if not any(worker["status"] == "READY" for worker in ask(place)["workers"]):
            return "no worker is READY"
        described = ask(f"{place}?customized=true").get("customizedMetadata")
    except urllib.error.HTTPError as error:
        return f"the management API answers {error.code}: {error.read().decode(errors='replace')[:200]}"
    except (OSError, ValueError, HTTPException, LookupError, TypeError) as error:
        return f"the management API does not answer: {error}"
    if not isinstance(described, dict) or "model" not in described:
        return described.get("error", "it does not describe itself") if isinstance(described, dict) else str(described)
    return None
