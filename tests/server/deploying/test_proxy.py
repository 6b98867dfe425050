"""The proxy in front of a SuperLink: what passes, what does not, and what is written down."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from made_consortium import NOW, consortium

from brainjepa_core.consortium.keys import make_key
from brainjepa_server.consortium.certificates import make_loopback_certificate
from brainjepa_server.deploying import proxy
from brainjepa_server.deploying.proxy import Proxy, Upstream


class Link(BaseHTTPRequestHandler):
    """Answers with what it got, and with the fields that it saw."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]] = []

    def do_POST(self):
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        if self.path.endswith("early"):  # as for a key that it does not know
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.endswith("silent"):
            return
        self.send_response(401 if self.path.endswith("unknown") else 200)
        if self.path.endswith("chunks"):
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Deployment:
    """A consortium's proxy before a SuperLink that echoes."""

    def __init__(self, folder: Path) -> None:
        consortium(folder / "c", "127.0.0.1")
        self.folder, self.lines = folder / "c", []
        self.clients: list[http.client.HTTPSConnection] = []
        key, certificate = folder / "loopback.key", folder / "loopback.crt"
        made = make_loopback_certificate(make_key(key, PrivateFormat.PKCS8), NOW)
        certificate.write_bytes(made.public_bytes(Encoding.PEM))
        Link.seen = []
        self.link = ThreadingHTTPServer(("127.0.0.1", 0), Link)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self.link.socket = context.wrap_socket(self.link.socket, server_side=True)
        threading.Thread(target=self.link.serve_forever, daemon=True).start()
        self.upstream = Upstream(self.link.server_address[1], certificate)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        pki = self.folder / "pki"
        work = Proxy(self.upstream, self.lines.append).listen(
            "127.0.0.1", 0, pki / "server.crt", pki / "server.key"
        )
        self.server = asyncio.run_coroutine_threadsafe(work, self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]

    def end(self) -> None:
        """Close all that is open, so that nothing of it is found by a test that comes later."""
        for client in self.clients:
            client.close()
        asyncio.run_coroutine_threadsafe(self._end_serving(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        self.link.shutdown()
        self.link.server_close()

    async def _end_serving(self) -> None:
        self.server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were closed end in the loop's next turn

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "pki" / "ca.crt")

    def client(self) -> http.client.HTTPSConnection:
        made = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.trusted, timeout=30)
        self.clients.append(made)
        return made

    def raw(self, text: bytes) -> bytes:
        """What comes back to these bytes until the proxy ends the connection."""
        with (
            socket.create_connection(("127.0.0.1", self.port), 30) as plain,
            self.trusted.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(text)
            found = b""
            while block := secured.recv(65536):
                found += block
            return found


@pytest.fixture
def deployment(tmp_path) -> Iterator[Deployment]:
    made = Deployment(tmp_path)
    yield made
    made.end()


def test_a_connection_carries_many_calls_and_large_bodies(deployment):
    client = deployment.client()
    for size in (0, 1, 9_000_000, 5):
        client.request("POST", "/v1/fleet/push-object", b"x" * size)
        answer = client.getresponse()
        assert (answer.status, len(answer.read())) == (200, size)
    assert deployment.lines[2] == "POST /v1/fleet/push-object 200 9000000 up 9000000 down"


def test_calls_that_come_at_once_are_all_answered(deployment):
    """The SuperLink ends each connection as soon as it has answered."""
    found: list[int] = []

    def call() -> None:
        client = deployment.client()
        for _ in range(5):
            client.request("POST", "/v1/fleet/push-object", b"x" * 700)
            answer = client.getresponse()
            found.append((answer.status, len(answer.read())))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(200, 700)] * 30


def test_an_answer_that_comes_before_the_whole_body_comes_back(deployment):
    client = deployment.client()
    client.request("POST", "/v1/fleet/early", b"x" * 700)
    assert client.getresponse().status == 401


def test_a_refusal_of_the_superlink_comes_back_as_it_is(deployment):
    client = deployment.client()
    client.request("POST", "/v1/fleet/unknown", b"abc")
    assert client.getresponse().status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/openapi.json", "/v1/control/start-run", "/v1/runtime/acquire-task",
        "/v1/fleet", "/v1/fleet/", "/v1/fleet/../control/start-run", "/v1/fleet/%2e%2e/control/x",
        "/v1/fleet/x?y=1", "//v1/fleet/x", "/V1/fleet/x", "/v1/fleet/a/b", "/v1/fleet/x;y",
        "/v1/fleet\\x", "https://127.0.0.1/v1/fleet/x",
    ],
)  # fmt: skip
def test_nothing_else_passes(deployment, path):
    answer = deployment.raw(f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert not Link.seen and deployment.lines == [f"POST {path} 403 0 up 0 down"]


@pytest.mark.parametrize("path", ["/docs", "/v1/control/start-run", "/v1/runtime/acquire-task"])
def test_without_its_list_of_paths_it_would(deployment, monkeypatch, path):
    """The control of the test above."""
    monkeypatch.setattr(proxy, "PASSES", re.compile(rb".*"))
    client = deployment.client()
    client.request("POST", path, b"")
    assert client.getresponse().status == 200
    assert len(Link.seen) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "CONNECT", "OPTIONS", "DELETE"])
def test_no_other_method_passes(deployment, method):
    text = f"{method} /v1/fleet/pull-messages HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    assert deployment.raw(text.encode()).startswith(b"HTTP/1.1 403 ")
    assert not Link.seen


SMUGGLED = b"POST /v1/control/start-run HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 0\r\nContent-Length: 60", 400),
        (b"Content-Length: 0\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: chunked", 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: +5", 400),
        (b"Content-Length : 5", 400),
        (b"Content-Length: 5\nX: y", 400),
        (b" folded: 5", 400),
        (b"no colon", 400),
        (b"X: y", 411),
        (b"Content-Length: 99999999999", 413),
        (b"X: " + b"y" * 40_000, 400),
        (b"X: " + b"y" * 400_000, 400),
    ],
)
def test_a_body_of_two_lengths_or_none_does_not_pass(deployment, fields, status):
    head = b"POST /v1/fleet/push-object HTTP/1.1\r\n" + fields + b"\r\n\r\n"
    assert deployment.raw(head + SMUGGLED).startswith(b"HTTP/1.1 %d " % status)
    assert not Link.seen


@pytest.mark.parametrize("text", [b"\x16\x03\x01\r\n\r\n", b"POST /v1/fleet/x HTTP/1.0\r\n\r\n"])
def test_what_is_no_request_is_told_so(deployment, text):
    assert deployment.raw(text).startswith(b"HTTP/1.1 400 Bad Request")


def test_what_belongs_to_the_connection_is_not_passed_on(deployment):
    fields = b"Connection: close\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nhi"
    answer = deployment.raw(b"POST /v1/fleet/x HTTP/1.1\r\n" + fields)
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"hi")
    (seen,) = Link.seen
    assert seen["x-kept"] == "1" and "upgrade" not in seen and seen["connection"] == "close"


def test_a_superlink_that_is_away_is_a_502_and_one_that_is_back_answers(deployment, tmp_path):
    away = deployment.upstream.port
    object.__setattr__(deployment.upstream, "port", 1)
    text = b"POST /v1/fleet/x HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert deployment.raw(text).startswith(b"HTTP/1.1 502 ")
    object.__setattr__(deployment.upstream, "port", away)
    assert deployment.raw(text).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["silent", "chunks"])
def test_an_answer_that_is_none_is_a_502(deployment, path):
    text = f"POST /v1/fleet/{path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode()
    assert deployment.raw(text).startswith(b"HTTP/1.1 502 ")


def test_who_says_nothing_is_not_waited_for(deployment, monkeypatch):
    monkeypatch.setattr(proxy, "PATIENCE", 0.05)
    assert deployment.raw(b"") == b""
    head = b"POST /v1/fleet/x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"
    assert deployment.raw(head).startswith(b"HTTP/1.1 504 ")


def test_another_superlink_than_its_own_gets_nothing(deployment, tmp_path):
    """A program that took the SuperLink's port has not its key."""
    key = make_key(tmp_path / "other.key", PrivateFormat.PKCS8)
    other = make_loopback_certificate(key, NOW).public_bytes(Encoding.PEM)
    deployment.upstream.certificate.write_bytes(other)
    text = b"POST /v1/fleet/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    assert deployment.raw(text).startswith(b"HTTP/1.1 502 ") and not Link.seen


def test_a_line_holds_no_address_and_no_sign_that_deceives(deployment):
    answer = deployment.raw(b"POST /\x1b[31m\xff" + b"x" * 200 + b" HTTP/1.1\r\nA: b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert deployment.lines == ["POST /?[31m?" + "x" * 73 + " 403 0 up 0 down"]
