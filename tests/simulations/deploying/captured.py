"""All that passes the proxy of a deployment, in both directions, and what must not be in it."""

from __future__ import annotations

import asyncio
import http.client
import io
import re
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.deploying import proxy as proxy_module
from brainjepa_server.deploying.proxy import Proxy, Upstream

UP, DOWN = "to the coordinator", "to a site"


@dataclass
class Captured:
    """What passed: bodies, each with where it went and its call; requests, each head with its body.

    Heads hold the signature of the site's key over the time, and nothing else that is secret.
    """

    bodies: list[tuple[str, str, bytes]] = field(default_factory=list)
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)

    def of(self, way: str) -> list[bytes]:
        return [body for direction, _, body in self.bodies if direction == way]

    def having(self, text: str) -> set[str]:
        """The ways that bodies with this text in them went."""
        return {way for way, _, body in self.bodies if text.encode() in body}


@contextmanager
def capturing(
    consortium: ConsortiumFolder, port: int, link: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Captured]:
    """The shipped proxy, in this process, on a port of loopback; it keeps what it passes on."""
    found, sound, heads = Captured(), proxy_module._copy, dict[str, bytes]()

    async def copy(reader, writer, length: int) -> int:
        kept = bytearray()

        class Kept:
            def write(self, block: bytes) -> None:
                kept.extend(block)
                writer.write(block)

            async def drain(self) -> None:
                await writer.drain()

        try:
            return await sound(reader, Kept(), length)
        finally:
            task = asyncio.current_task()
            head, call = heads.pop(task.get_name(), None), calls[task.get_name()]
            found.bodies.append((DOWN if head is None else UP, call, bytes(kept)))
            if head is not None:
                found.requests.append((head, bytes(kept)))

    admitted, calls = proxy_module._admitted, dict[str, str]()

    def begun(head, line) -> int:
        length = admitted(head, line)
        name = asyncio.current_task().get_name()
        heads[name], calls[name] = head.forwarded((b"connection", b"close")), line.path.decode()
        return length

    monkeypatch.setattr(proxy_module, "_copy", copy)
    monkeypatch.setattr(proxy_module, "_admitted", begun)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    proxy = Proxy(Upstream(link, consortium.loopback_certificate), lambda line: None)
    listening = proxy.listen(
        "127.0.0.1", port, consortium.server_certificate, consortium.server_key
    )
    server = asyncio.run_coroutine_threadsafe(listening, loop).result(20)
    try:
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def replayed(request: tuple[bytes, bytes], link: int, certificate: Path) -> tuple[int, bytes]:
    """Send a request that was captured once more, to the SuperLink itself; status and body."""
    trusted = ssl.create_default_context(cafile=certificate)
    with (
        socket.create_connection(("127.0.0.1", link), 30) as plain,
        trusted.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(b"".join(request))
        answer = http.client.HTTPResponse(secured)
        answer.begin()
        return answer.status, answer.read()


async def _end(server: asyncio.Server) -> None:
    server.close()
    serving = asyncio.all_tasks() - {asyncio.current_task()}
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await asyncio.sleep(0)


def forbidden(folder: Path, people: Iterable[str]) -> dict[str, re.Pattern[bytes]]:
    """What no body may hold, by what it is.

    Dates of today and yesterday are Flower's own clock in the metadata of messages and runs.
    """
    now = datetime.now(UTC)
    clock = "|".join(re.escape(f"{now - timedelta(days=d):%Y-%m-%d}") for d in (0, 1))
    return {
        "a person": re.compile(b"|".join(re.escape(p.encode()) for p in people)),
        "sub-": re.compile(rb"sub-[A-Za-z0-9]"),
        "a path": re.compile(
            re.escape(str(folder).encode())
            + rb"|/(tmp|home|root|srv|usr|var|mnt|data|work|opt)/"
            + rb"|site-packages|\.ya?ml\b|/\w+\.py\b"
        ),
        "a date": re.compile(rb"\b(?!%b)(19|20)\d\d-[01]\d-[0-3]\d" % clock.encode()),
        "a traceback": re.compile(rb'Traceback|File "'),
    }


def findings(bodies: Iterable[bytes], patterns: dict[str, re.Pattern[bytes]]) -> list[str]:
    """What is in bodies that must not be: each with the text around it."""
    found = []
    for body in bodies:
        for text in _opened(body):
            for what, pattern in patterns.items():
                found += [
                    f"{what}: {text[max(match.start() - 60, 0) : match.end() + 60]!r}"
                    for match in pattern.finditer(text)
                ]
    return found


def _opened(body: bytes) -> Iterator[bytes]:
    """A body, or the files of an archive that it holds in place of the archive."""
    begins = body.find(b"PK\x03\x04")
    if begins < 0:
        yield body
        return
    yield body[:begins]
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(body[begins:])) as archive:
        for name in archive.namelist():
            yield archive.read(name)
