"""Whether archives can answer: what stands at the address, or how they are called, never ends in a traceback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest
from intgrads.serving.readiness import served, why_not


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


class Busy(Other):
    """A TorchServe whose worker computes: it describes itself when it has ended."""

    said = b"HTTP/1.0 200 OK\r\n\r\n"
    workers = b'[{"workers": [{"status": "READY"}]}]'
    over = threading.Event()

    def do_GET(self) -> None:
        self.wfile.write(self.said)
        if "customized" not in self.path:
            self.wfile.write(self.workers)
        else:
            self.over.wait(60)


@pytest.fixture
def busy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Busy.over.set()
        server.shutdown()


def test_one_that_computes_can_answer_where_that_is_enough(busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not(busy, "small", seconds=0.5, busy=True) is None
    assert "timed out" in str(why_not(busy, "small", seconds=0.5))
    monkeypatch.setattr(Busy, "workers", b'[{"workers": [{"status": "UNLOADING"}]}]')
    assert why_not(busy, "small", seconds=0.5, busy=True) == "no worker is READY"


@pytest.mark.parametrize(
    ("said", "names"), [(b'{"models": [{"modelName": "a"}, {"modelName": "b"}]}', ["a", "b"]), (b'{"models": []}', [])]
)
def test_what_a_server_has(address: str, said: bytes, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Other, "said", b"HTTP/1.0 200 OK\r\n\r\n" + said)
    assert served(address) == names


@pytest.mark.parametrize("said", [b"SSH-2.0\r\n", b"HTTP/1.0 200 OK\r\n\r\n{}", b"HTTP/1.0 200 OK\r\n\r\n[]", b""])
def test_a_program_that_has_no_archives_is_told(address: str, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Other, "said", said)
    assert str(served(address)).startswith("the management API does not answer")
