"""The part of quickstart.sh that follows the installation: archive, server, one picture, and what to do next."""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import io
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from intgrads.places import MODEL_STORE, REPOSITORY
from intgrads.serving.archives import is_current
from intgrads.serving.torchserve import ServerError, TorchServe

ARCHIVE = MODEL_STORE / "intgrads.mar"
PICTURE = REPOSITORY / "examples" / "cat.jpg"
RUN = REPOSITORY / ".run"
TOLERANCE = 0.02


def say(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def build_archive() -> None:
    """Make the demo's archive where there is none or the code is newer.

    Raises
    ------
    ServerError
        If it cannot be made.
    """
    if is_current(ARCHIVE):
        return
    say("making model_store/intgrads.mar")
    if subprocess.run([REPOSITORY / "archive.sh"], check=False).returncode:
        raise ServerError("the archive could not be made (above)")


def post(url: str, format: str) -> bytes:
    """Send the example picture and return the answer.

    Raises
    ------
    ServerError
        If the answer is an error; with what it says.
    """
    content = {"image": base64.b64encode(PICTURE.read_bytes()).decode(), "tolerance": TOLERANCE, "format": format}
    request = urllib.request.Request(
        url, data=json.dumps(content).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=600) as reply:
            answer: bytes = reply.read()
            return answer
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(said)["message"]
        raise ServerError(f"{url} answered {error.code}: {said}") from None
    except OSError as error:
        raise ServerError(f"{url} did not answer: {error}") from None


def load(answer: bytes) -> dict[str, Any]:
    """Open the default answer, as the README shows it."""
    import torch

    content: dict[str, Any] = torch.load(io.BytesIO(gzip.decompress(answer)), weights_only=True)
    return content


def show(server: TorchServe) -> None:
    """Ask for the picture's attributions, write them beside it and print what they say."""
    url = f"{server.url}/predictions/intgrads"
    say("asking for the attributions of examples/cat.jpg")
    started = time.monotonic()
    answer = post(url, "gzip")
    seconds = time.monotonic() - started
    attributions = PICTURE.with_name("cat.attributions.gzip")
    attributions.write_bytes(answer)
    drawn = {format: PICTURE.with_name(f"cat.{format}") for format in ("png", "html")}
    for format, place in drawn.items():
        place.write_bytes(post(url, format))
    info = load(answer)["info"]
    say()
    say(f"  prediction         {info['prediction']['label']}, probability {info['prediction']['probability']:.2f}")
    say(f"  f(x) - f(x')       {info['difference']:.3f} (the logit of the picture minus that of a black one)")
    say(f"  convergence delta  {info['convergence_delta']:+.3f}")
    say(f"  local error        {info['local_error']:.3f}")
    say(f"  error of the map   {info['attribution_error']:.1%} (a tolerance of {TOLERANCE:.0%} was asked for)")
    say(f"  evaluations        {info['evaluations']}")
    for warning in info["warnings"]:
        say(f"  note               {warning}")
    say(f"  time               {seconds:.1f} s, {len(answer) / 2**20:.0f} MB")
    say(f"  attributions       {attributions.relative_to(REPOSITORY)}")
    say(f"  heat map           {drawn['png'].relative_to(REPOSITORY)}")
    say(f"  page to explore    {drawn['html'].relative_to(REPOSITORY)} (open it in a browser)")
    say()
    say("The server goes on running. Try:")
    say(f"  curl -T examples/cat.jpg -H 'Content-Type: image/jpeg' {url} -o cat.gzip")
    say(f"  curl -F data=@examples/cat.jpg -F target_class='Egyptian cat' -F format=png {url} -o egyptian.png")
    say(f"  curl -F data=@examples/cat.jpg -F tolerance=0.01 -F format=json {url}")
    say("  ./quickstart.sh stop")


def first_port(text: str) -> int:
    """Read the first of five ports in a row."""
    port = int(text)
    if not 1 <= port <= 65531:
        raise argparse.ArgumentTypeError("must be from 1 to 65531")
    return port


def main() -> int:
    """Run the quickstart and return its exit status."""
    parse = argparse.ArgumentParser(prog="quickstart.sh", description="Serve the demo network and ask it one picture.")
    parse.add_argument("action", nargs="?", choices=("start", "stop"), default="start")
    parse.add_argument("--port", type=first_port, default=8080, help="first of the five ports in a row; default 8080")
    given = parse.parse_args()
    server = TorchServe(RUN, range(given.port, given.port + 5))
    if given.action == "stop":
        say("stopped" if server.stop() else "no server of the quickstart was running")
        return 0
    try:
        build_archive()
        if server.running() and server.on_these_ports() and ARCHIVE.stat().st_mtime < server.started():
            say(f"TorchServe is running on {server.url}")
        else:
            server.stop()
            say(f"starting TorchServe on {server.url}")
            server.start()
        server.wait_until_ready()
        show(server)
    except ServerError as error:
        print(f"\nquickstart.sh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
