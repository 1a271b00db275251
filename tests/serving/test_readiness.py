"""Whether archives can answer: what stands at the address, or how they are called, never ends in a traceback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from intgrads.serving.readiness import why_not


class Other(BaseHTTPRequestHandler):
    """A program that is no TorchServe."""

    said = b""

    def do_GET(self) -> None:
        self.wfile.write(self.said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("said", [b"SSH-2.0\r\n", b"HTTP/1.0 200 OK\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n[]", b""])
@pytest.mark.parametrize("name", ["small", "two words", "a\nline", "../ping"])
def test_another_program_is_told(address: str, said: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Other, "said", said)
    reason = why_not(address, name)
    assert reason is not None
    assert reason.startswith("the management API does not answer")
