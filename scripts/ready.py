"""Whether archives can answer: ``python scripts/ready.py NAME…``, for a container's startup probe or a waiting script.

TorchServe's ``/ping`` is healthy before any worker runs, and its workers are READY also where the archive could not be
loaded. An archive that can answer describes itself; this asks for that, through the management API, and waits its turn
behind requests. The exit code is 0 where all can answer, else 1 with the reasons.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("names", nargs="+", metavar="NAME", help="archives, as they are called in the URL")
    parse.add_argument("--management", default="http://127.0.0.1:8081", metavar="URL", help="the management API")
    parse.add_argument("--key", help="its token, where the server asks for one")
    parse.add_argument("--seconds", type=float, default=30, help="to wait for each answer; default 30")
    return parse


def why_not(given: argparse.Namespace, name: str) -> str | None:
    """Return why an archive cannot answer; None where it can."""

    def ask(path: str) -> Any:
        request = urllib.request.Request(f"{given.management}/models/{path}")
        if given.key:
            request.add_header("Authorization", f"Bearer {given.key}")
        with urllib.request.urlopen(request, timeout=given.seconds) as reply:
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


def main(arguments: list[str] | None = None) -> int:
    """Ask about each archive; return the exit code."""
    given = parser().parse_args(arguments)
    reasons = {name: why_not(given, name) for name in given.names}
    for name, reason in reasons.items():
        print(f"{name}: {reason or 'ready'}")
    return 1 if any(reasons.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
