"""Whether archives can answer: ``python scripts/ready.py [NAME…]``, for a container's probe or a waiting script.

The exit code is 0 where all can answer, else 1 with the reasons. How that is found out, ``intgrads.serving.readiness``
says.
"""

from __future__ import annotations

import argparse
import sys

from intgrads.serving.readiness import served, why_not


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument(
        "names", nargs="*", metavar="NAME", help="archives, as they are called in the URL; default all that are served"
    )
    parse.add_argument("--management", default="http://127.0.0.1:8081", metavar="URL", help="the management API")
    parse.add_argument("--key", help="its token, where the server asks for one")
    parse.add_argument("--seconds", type=float, default=30, help="to wait for each answer; default 30")
    parse.add_argument(
        "--busy", action="store_true", help="an archive that computes, and does not answer in this time, can answer"
    )
    return parse


def main(arguments: list[str] | None = None) -> int:
    """Ask about each archive; return the exit code."""
    given = parser().parse_args(arguments)
    names = given.names or served(given.management, given.key, given.seconds)
    if not names or isinstance(names, str):
        print(names or "no archive is served")
        return 1
    reasons = {name: why_not(given.management, name, given.key, given.seconds, busy=given.busy) for name in names}
    for name, reason in reasons.items():
        print(f"{name}: {reason or 'ready'}")
    return 1 if any(reasons.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
