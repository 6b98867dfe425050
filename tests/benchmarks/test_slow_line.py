"""The slow line of the benchmarks: bytes arrive as they were, and no sooner than they may."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

RATE, ROUND_TRIP = 8e6, 0.04


@pytest.fixture(scope="module")
def slow_line() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "parts" / "slow_line.py"
    spec = importlib.util.spec_from_file_location("bench_slow_line", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for its own annotations
    spec.loader.exec_module(module)
    return module


def echoing(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while block := connection.recv(1 << 16):
            connection.sendall(block)


def test_bytes_go_there_and_back_at_the_rate_of_the_line(slow_line):
    sent = np.random.default_rng(0).bytes(300_000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = threading.Thread(target=echoing, args=(server,), daemon=True)
        far.start()
        line = slow_line.SlowLine(server.getsockname()[1], ROUND_TRIP, RATE)
        with line.open(), socket.create_connection(("127.0.0.1", line.port)) as near:
            began = time.monotonic()
            pusher = threading.Thread(target=near.sendall, args=(sent,))
            pusher.start()
            found = b""
            while len(found) < len(sent):
                found += near.recv(1 << 16)
            seconds = time.monotonic() - began
            pusher.join()
            near.shutdown(socket.SHUT_WR)
            far.join()
    assert found == sent
    assert line.up.bytes == line.down.bytes == len(sent)
    for way in (line.up, line.down):
        assert sum(burst.bytes for burst in way.bursts) == len(sent)
        assert sum(burst.seconds for burst in way.bursts) >= 8 * len(sent) / RATE - 1e-9
    assert seconds >= 8 * len(sent) / RATE + ROUND_TRIP


def test_a_far_end_that_is_not_there_ends_the_connection(slow_line):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    line = slow_line.SlowLine(port, ROUND_TRIP, RATE)
    with line.open(), socket.create_connection(("127.0.0.1", line.port)) as near:
        assert near.recv(1) == b""
