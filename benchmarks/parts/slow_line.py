"""A slow line to one port of this machine: every byte through it waits its turn, then travels.

Delay and rate hold for each direction by itself, all connections of a line together, as at a
hospital's access to the network. Bytes are counted as they pass, TLS and all.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

BLOCK = 16 * 1024  # bytes; 13 ms at 10 Mbit/s, so that connections share the line fairly
QUIET = 1.0  # seconds of silence between two bursts
AHEAD = 0.3  # seconds of bytes that a router keeps: a late wake of this process costs the line none
WAITING = 64  # blocks of a connection on their way at most


@dataclass
class Burst:
    """Bytes between two silences."""

    begin: float
    end: float = 0.0
    bytes: int = 0

    def add(self, size: int, end: float) -> None:
        self.bytes, self.end = self.bytes + size, end

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class _Direction:
    """One way: blocks leave one after the other, and arrive a delay later."""

    def __init__(self, delay: float, rate: float) -> None:
        self.delay, self.rate, self.bytes = delay, rate, 0
        self.bursts: list[Burst] = []
        self._free = 0.0  # when the last block has left

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection's bytes until it ends."""
        sent: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING)

        async def take() -> None:
            while True:
                block = await reader.read(BLOCK)
                begins = max(self._free, time.monotonic())
                if begins - self._free > QUIET:
                    self.bursts.append(Burst(begins))
                self._free = begins + 8 * len(block) / self.rate
                self.bytes += len(block)
                self.bursts[-1].add(len(block), self._free)
                await sent.put((self._free + self.delay, block))
                if not block:
                    return
                await asyncio.sleep(self._free - time.monotonic() - AHEAD)

        async def give() -> None:
            while True:
                due, block = await sent.get()
                await asyncio.sleep(due - time.monotonic())
                if not block:
                    return
                writer.write(block)
                await writer.drain()

        tasks = [asyncio.create_task(take()), asyncio.create_task(give())]
        try:
            with suppress(OSError):
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            writer.close()


class SlowLine:
    """From a port of its own to another one, both on loopback.

    Parameters
    ----------
    target : int
        Port at the far end.
    round_trip : float
        Seconds there and back.
    rate : float
        Bits a second, either way.

    Attributes
    ----------
    port : int
        At the near end, while the line is `open`.
    """

    def __init__(self, target: int, round_trip: float, rate: float) -> None:
        self.target, self.port, self.round_trip = target, 0, round_trip
        self.up, self.down = (_Direction(round_trip / 2, rate) for _ in range(2))

    @contextmanager
    def open(self) -> Iterator[None]:
        """Carry connections while this lasts, in a thread of its own."""
        loop, there = asyncio.new_event_loop(), threading.Event()
        server: list[asyncio.Server] = []

        async def listen() -> None:
            server.append(await asyncio.start_server(self._connect, "127.0.0.1", 0))
            self.port = server[0].sockets[0].getsockname()[1]
            there.set()

        def work() -> None:
            loop.create_task(listen())
            loop.run_forever()
            loop.run_until_complete(_end_all())
            loop.close()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        there.wait()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(server[0].close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.round_trip)  # TCP's handshake
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.up.carry(reader, far_writer), self.down.carry(far_reader, writer))


async def _end_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
