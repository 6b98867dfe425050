"""The small proxy in front of the SuperLink, for trying on one machine: TLS, and sites' calls only.

Whoever reaches the whole SuperLink can start programs at every site. Its fleet calls alone ask
each caller for an admitted key; therefore nothing else passes. A server on the open network has
Caddy or nginx in this place (``server/Caddyfile``, ``server/nginx.conf``).
"""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from brainjepa_server.deploying.http_head import (
    LONGEST_HEAD,
    BadHead,
    Head,
    head_bytes,
    read_head,
)

PASSES = re.compile(rb"/v1/fleet/[a-z0-9-]+")
LARGEST_BODY = 64 * 1024 * 1024  # bytes; Flower's objects have 5 MB
PATIENCE = 120.0  # seconds without a byte, from either side
LINGER, QUIET = 2.0, 0.05  # seconds after a refusal: at most; without a byte
_BLOCK = 64 * 1024
_REQUEST = re.compile(rb"([A-Z]{1,16}) (\S{1,8192}) HTTP/1\.1")
_RESPONSE = re.compile(rb"HTTP/1\.1 [2-5][0-9]{2}( .*)?")
_REASONS = {
    400: b"Bad Request",
    403: b"Forbidden",
    411: b"Length Required",
    413: b"Content Too Large",
    502: b"Bad Gateway",
    504: b"Gateway Timeout",
}
T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Upstream:
    """The SuperLink on this machine's loopback.

    Attributes
    ----------
    port : int
    certificate : Path
        The one that it shows, and that is trusted for it, no other.
    """

    port: int
    certificate: Path

    async def connect(self) -> Streams:
        trusted = ssl.create_default_context(cafile=self.certificate)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=trusted)


class Refused(Exception):
    """A request that does not pass, with its status; the connection ends with the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Proxy:
    """Passes sites' calls on, and writes a line for each of all calls.

    Parameters
    ----------
    upstream : Upstream
    tell : callable
        Takes a line: method, path, status, bytes received and sent. No address, no field, no body.
    """

    def __init__(self, upstream: Upstream, tell: Callable[[str], None]) -> None:
        self.upstream, self.tell = upstream, tell

    async def listen(
        self, host: str | None, port: int, certificate: Path, key: Path
    ) -> asyncio.Server:
        """Begin to serve.

        Parameters
        ----------
        host : str, optional
            Address to listen on; all of this machine's by default.
        port : int
        certificate, key : Path
            What sites are shown.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return await asyncio.start_server(
            self._serve, host, port, ssl=context, limit=2 * LONGEST_HEAD
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection: requests one after the other, until either side ends it."""
        line = _Line()
        try:
            while (head := await _patient(read_head(reader))) is not None:
                length = _admitted(head, line)
                again = await self._exchange((reader, writer), head, length, line)
                self.tell(line.text())
                line = _Line()
                if not again:
                    break
        except Refused as refused:
            await self._refuse((reader, writer), line, refused.status)
        except BadHead:
            await self._refuse((reader, writer), line, 400)
        except (OSError, asyncio.IncompleteReadError):  # one side has gone, or says nothing
            if line.method:
                self.tell(line.text())
        except asyncio.CancelledError:
            pass  # the proxy ends; asyncio would print a failure a connection
        finally:
            writer.close()

    async def _exchange(self, site: Streams, head: Head, length: int, line: _Line) -> bool:
        """Pass a request on and its answer back; whether the site may ask again.

        Each request has a connection of its own to the SuperLink, which ends idle ones when it
        likes.
        """
        reader, writer = site
        try:
            from_link, to_link = await _patient(self.upstream.connect())
        except OSError as error:
            raise Refused(502) from error
        try:
            to_link.write(head.forwarded((b"connection", b"close")))
            whole = await _sent(reader, to_link, length, line)
            answer = await _answer(from_link)
            line.status = int(answer.first.split()[1])
            closing = () if whole and not head.closes else ((b"connection", b"close"),)
            writer.write(answer.forwarded(*closing))
            line.down = await _copy(from_link, writer, answer.length or 0)
        except (OSError, asyncio.IncompleteReadError) as error:
            if line.status:  # too late to say anything else
                raise
            raise Refused(504 if isinstance(error, TimeoutError) else 502) from error
        finally:
            to_link.close()
        return whole and not head.closes

    async def _refuse(self, site: Streams, line: _Line, status: int) -> None:
        """Answer a request that does not pass, and let the site read that before the end.

        What it is still sending is read and thrown away for a moment: a connection that ends on
        unread bytes takes the answer with it.
        """
        (reader, writer), line.status = site, status
        self.tell(line.text())
        fields = [(b"content-length", b"0"), (b"connection", b"close")]
        with suppress(OSError):
            writer.write(head_bytes(b"HTTP/1.1 %d %s" % (status, _REASONS[status]), fields))
            await _patient(writer.drain())
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    while await asyncio.wait_for(reader.read(_BLOCK), QUIET):
                        pass


class _Line:
    """What is written down of a request."""

    def __init__(self) -> None:
        self.method, self.path = "", b""
        self.status, self.up, self.down = 0, 0, 0

    def text(self) -> str:
        path = "".join(chr(c) if 32 < c < 127 else "?" for c in self.path[:80])
        status = self.status or "unanswered"
        return f"{self.method or '-'} {path or '-'} {status} {self.up} up {self.down} down"


def _admitted(head: Head, line: _Line) -> int:
    """Bytes of the body of a request that may pass."""
    found = _REQUEST.fullmatch(head.first)
    if found is None:
        raise BadHead("a request of HTTP/1.1")
    line.method, line.path = found[1].decode(), found[2]
    if line.method != "POST" or not PASSES.fullmatch(line.path):
        raise Refused(403)
    length = head.length
    if length is None:
        raise Refused(411)
    if length > LARGEST_BODY:
        raise Refused(413)
    return length


async def _answer(reader: asyncio.StreamReader) -> Head:
    """The head of the SuperLink's answer, of which it always tells the length."""
    try:
        answer = await _patient(read_head(reader))
        if answer and _RESPONSE.fullmatch(answer.first) and answer.length is not None:
            return answer
    except BadHead as error:
        raise Refused(502) from error
    raise Refused(502)


async def _sent(
    reader: asyncio.StreamReader, to_link: asyncio.StreamWriter, length: int, line: _Line
) -> bool:
    """Pass a body on; False where the SuperLink has answered and gone before it had all of it."""
    try:
        line.up = await _copy(reader, to_link, length)
    except ConnectionError:
        if reader.exception() is not None:  # it was the site that went
            raise
        return False
    return True


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> int:
    """Copy a body block by block; returns its bytes."""
    done = 0
    while done < length:
        block = await _patient(reader.read(min(_BLOCK, length - done)))
        if not block:
            raise asyncio.IncompleteReadError(b"", length - done)
        writer.write(block)
        await _patient(writer.drain())
        done += len(block)
    return done


async def _patient(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, PATIENCE)


async def serve(
    upstream: Upstream, host: str | None, port: int, certificate: Path, key: Path
) -> None:
    """Serve until SIGTERM; lines go to standard output."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    proxy = Proxy(upstream, lambda line: print(line, flush=True))
    server = await proxy.listen(host, port, certificate, key)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    host, port, certificate, key, link, link_certificate = sys.argv[1:]
    superlink = Upstream(int(link), Path(link_certificate))
    asyncio.run(serve(superlink, host or None, int(port), Path(certificate), Path(key)))
