"""A server that others reach: TLS, its tokens, what is closed to them, and a proxy in front with limits."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import certificate
import pytest
import requests
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.serving.torchserve import PORTS, TorchServe, free_ports
from intgrads.settings import Settings
from shared.places import ROOT
from shared.serving import assert_refused, pids
from shared.texts import saved, small_bert, small_bert_tokenizer

pytestmark = pytest.mark.server

ASK: dict[str, Any] = {"json": {"sequence": "good, not bad", "n_steps": 1, "format": "json"}}

LINES = (ROOT / "config.remote.properties").read_text().splitlines()
PROPERTIES = dict(line.split("=", 1) for line in LINES if "=" in line and not line.startswith("#"))


@dataclass(frozen=True)
class Remote:
    """A server as ``config.remote.properties`` makes it, with TLS, and the certificate that vouches for it."""

    server: TorchServe
    url: str
    metrics: str
    certificate: str

    def ask(
        self, token: str | None, path: str = "/predictions/text", method: str = "POST", **how: Any
    ) -> requests.Response:
        base = how.pop("base", self.url)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        how = how or (ASK if method == "POST" else {})
        return requests.request(method, base + path, headers=headers, verify=self.certificate, timeout=60, **how)

    def key(self, kind: str) -> str:
        return str(self.server.key(kind))


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    directory = tmp_path_factory.mktemp("remote")
    folder = saved(directory / "bert", small_bert(), small_bert_tokenizer())
    make_archive(Order(f"hf:{folder}", None, None, Settings(threads=1)), "text", store=directory)
    of_this_test = {*PORTS, "grpc_inference_address", "grpc_management_address", "model_store", "metrics_config"}
    properties = {name: value for name, value in PROPERTIES.items() if name not in of_this_test}
    ports = free_ports(5)
    pem, key = certificate.make(directory / "tls")
    properties |= {
        "inference_address": f"https://127.0.0.1:{ports[0]}", "token_expiration_min": "1",
        "private_key_file": str(key), "certificate_file": str(pem),
    }  # fmt: skip
    server = TorchServe(directory, ports, ["text.mar"], directory, properties)
    with server.running_until_left():
        yield Remote(server, f"https://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[2]}", str(pem))


def refused(reply: requests.Response) -> bool:
    """Whether TorchServe refused a token: with 400, which it cannot be told to make a 401."""
    return reply.status_code == 400 and reply.json()["type"] == "InvalidKeyException"


def test_answers_come_encrypted_and_by_the_certificate(remote: Remote) -> None:
    assert remote.ask(remote.key("inference")).json()["evaluations"]
    with pytest.raises(requests.exceptions.SSLError):
        requests.post(remote.url + "/predictions/text", timeout=60, **ASK)
    plain = requests.post(remote.url.replace("https", "http") + "/predictions/text", timeout=60, **ASK)
    assert plain.status_code == 403


def test_only_the_right_key_opens(remote: Remote) -> None:
    inference, management, api = (remote.key(kind) for kind in ("inference", "management", "API"))
    wrong = [None, "", "x", inference[:-1], inference.swapcase(), management, api]
    for token in wrong:
        assert refused(remote.ask(token)), token
    for path in ("/ping", "/explanations/text", "/models"):
        assert refused(remote.ask(None, path)), path
    of_management = {"base": remote.server.management_url}
    for token in (None, "", inference, api):
        assert refused(remote.ask(token, "/models", "GET", **of_management)), token
    assert remote.ask(management, "/models", "GET", **of_management).status_code == 200


def test_ping_needs_the_key_and_tells_of_the_frontend_alone(remote: Remote) -> None:
    assert remote.ask(remote.key("inference"), "/ping", "GET").json() == {"status": "Healthy"}


def test_metrics_need_no_key_and_are_for_this_machine_alone(remote: Remote) -> None:
    """TorchServe asks for none there, so that they must not be within reach of others; the proxy hands none on."""
    assert remote.ask(None, "/metrics", "GET", base=remote.metrics).status_code == 200
    assert PROPERTIES["metrics_address"].startswith("http://127.0.0.1:")
    assert PROPERTIES["management_address"].startswith("http://127.0.0.1:")
    assert remote.ask(remote.key("inference"), "/metrics", "GET").status_code in (404, 405)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x.mar", "file:///etc/passwd", "../../x.mar", "text.mar"])
def test_nothing_is_registered_from_outside(remote: Remote, address: str) -> None:
    before = pids(remote.server, "text")
    for base in (remote.url, remote.server.management_url):
        for kind in ("inference", "management"):
            reply = remote.ask(remote.key(kind), f"/models?url={address}&model_name=x", base=base)
            assert reply.status_code in (400, 404, 405), (base, kind, reply.text)
    removed = remote.ask(remote.key("management"), "/models/text", "DELETE", base=remote.server.management_url)
    assert removed.status_code == 405
    assert pids(remote.server, "text") == before


def test_a_bad_request_is_answered_as_on_this_machine(remote: Remote) -> None:
    assert_refused(remote.ask(remote.key("inference"), json={"sequence": 5}), "a number")


def test_a_renewed_key_takes_the_place_of_the_old_one(remote: Remote) -> None:
    old = remote.key("inference")
    new = remote.ask(remote.key("API"), "/token?type=inference", "GET", base=remote.server.management_url)
    assert new.status_code == 200
    assert remote.key("inference") != old
    assert refused(remote.ask(old))
    assert remote.ask(remote.key("inference")).status_code == 200


def test_the_keys_are_for_this_user_alone_and_in_no_log(remote: Remote) -> None:
    assert (remote.server.directory / "key_file.json").stat().st_mode & 0o077 == 0
    logs = "".join(path.read_text(errors="replace") for path in (remote.server.directory / "logs").iterdir())
    for kind in ("inference", "management", "API"):
        assert remote.key(kind) not in logs


@pytest.mark.slow
def test_an_expired_key_opens_nothing(remote: Remote) -> None:
    """The keys of this server last a minute."""
    end = time.monotonic() + 300
    while not refused(remote.ask(remote.key("inference"))):
        assert time.monotonic() < end
        time.sleep(1)


# ------------------------------------------------------------------ a proxy
@pytest.fixture(scope="module")
def proxy(torchserve: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Return the address of an nginx with ``nginx.conf`` before the server of all tests, and its certificate."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        pytest.skip("there is no nginx here; on Debian and Ubuntu: apt install nginx")
    directory = tmp_path_factory.mktemp("proxy")
    (port,) = free_ports(1)
    pem, _ = certificate.make(directory / ".run" / "tls")
    text = (ROOT / "nginx.conf").read_text()
    for before, after in (
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        ("http://127.0.0.1:8080", torchserve.url),
    ):
        assert before in text
        text = text.replace(before, after)
    if os.getuid() == 0:  # else its workers would be another user's, who may not read here
        text = "user root;\n" + text
    (directory / "nginx.conf").write_text(text)
    command = [nginx, "-p", str(directory), "-c", "nginx.conf", "-g", "daemon off;"]
    with (directory / "said").open("wb") as said:
        running = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        end = time.monotonic() + 60
        while not listens(port):
            assert running.poll() is None, (directory / "said").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"https://127.0.0.1:{port}", str(pem)
    finally:
        running.terminate()
        running.wait(timeout=60)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def through(proxy: tuple[str, str], path: str, method: str = "POST", **how: Any) -> requests.Response:
    """Ask, and ask again while the proxy wants the caller to wait: tests before this one have asked, too."""
    for _ in range(60):
        reply = requests.request(method, proxy[0] + path, verify=proxy[1], timeout=60, **how)
        if reply.status_code != 429:
            break
        time.sleep(1)
    return reply


def test_a_proxy_hands_on_what_callers_need(proxy: tuple[str, str]) -> None:
    assert through(proxy, "/predictions/text", **ASK).json()["evaluations"]
    assert through(proxy, "/explanations/text", **ASK).json()["evaluations"]
    put = through(proxy, "/predictions/text", "PUT", data="good", headers={"Content-Type": "text/plain"})
    assert put.status_code == 200
    assert through(proxy, "/ping", "GET").json() == {"status": "Healthy"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/models"), ("POST", "/models?url=x"), ("POST", "/v1/models/text:predict"),
     ("POST", "/invocations"), ("GET", "/api-description"), ("DELETE", "/predictions/text"),
     ("POST", "/predictions/../models"), ("POST", "/predictions/text/1.0/x"), ("OPTIONS", "/")],
)  # fmt: skip
def test_a_proxy_hands_on_nothing_else(proxy: tuple[str, str], method: str, path: str) -> None:
    reply = through(proxy, path, method)
    assert reply.status_code in (403, 404), reply.text
    assert_refused(reply, path)


def test_a_proxy_refuses_a_large_body_in_json(proxy: tuple[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", int(proxy[0].rsplit(":", 1)[1]))) as plain:
        context = ssl.create_default_context(cafile=proxy[1])
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            head = "POST /predictions/text HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857601\r\n\r\n"
            connection.sendall(head.encode())
            said = connection.recv(10_000)
            while piece := connection.recv(10_000):
                said += piece
    assert said.startswith(b"HTTP/1.1 413")
    assert json.loads(said.split(b"\r\n\r\n")[1])["type"] == "RequestTooLarge"


def test_a_proxy_slows_down_who_asks_too_often(proxy: tuple[str, str], torchserve: TorchServe) -> None:
    before = pids(torchserve, "text")
    statuses = []
    for _ in range(60):
        reply = requests.post(proxy[0] + "/predictions/text", verify=proxy[1], timeout=60, **ASK)
        statuses.append(reply.status_code)
        if reply.status_code == 429:
            assert_refused(reply, "too often")
    assert set(statuses) == {200, 429}
    assert through(proxy, "/predictions/text", **ASK).status_code == 200
    assert pids(torchserve, "text") == before
