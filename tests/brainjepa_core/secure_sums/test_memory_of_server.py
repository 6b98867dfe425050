"""What a coordinator holds of a secure sum: the sum and one message, 8 bytes a number."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from made_sums import Sum, name

from brainjepa_core.secure_sums.in_memory import answer
from brainjepa_core.secure_sums.messages import MASKED
from brainjepa_core.secure_sums.server import SumServer
from brainjepa_core.wire.packing import pack_arrays, unpack_arrays

NUMBERS, SITES = 2_000_000, 4
SMALL = 1 << 20  # bytes of keys, shares, and of what adds and draws a chunk at a time


def held(folder, read) -> float:
    """Most bytes a number that a coordinator holds, whose messages come from disk by `read`."""
    made, sizes = Sum(folder, SITES), {"a": NUMBERS // 3, "b": NUMBERS - NUMBERS // 3}
    tracemalloc.start()
    try:
        made.server = SumServer(made.terms, {n: (np.uint32, (size,)) for n, size in sizes.items()})
        made.until(MASKED)
        most = 0
        for number in range(SITES):
            vector = {n: np.full(size, number + 1, np.uint32) for n, size in sizes.items()}
            request = made.server.request(name(number))
            masked = answer(made.site(number), MASKED, request, vector)
            pack_arrays(masked).tofile(folder / "message")
            del masked, vector
            tracemalloc.reset_peak()
            made.server.receive(name(number), unpack_arrays(read(folder / "message")))
            most = max(most, tracemalloc.get_traced_memory()[1])
        made.server.end_step()
        made.step()
        made.step()
        tracemalloc.reset_peak()
        total = made.server.total()
        most = max(most, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert all((value == 10).all() for value in total.values())
    return most


def test_the_sum_and_one_message(tmp_path):
    most = held(tmp_path, lambda path: np.fromfile(path, np.uint8))
    print(f"{most / NUMBERS:.3f} bytes a number")
    assert most <= 8 * NUMBERS + SMALL


def test_a_second_copy_would_be_seen(tmp_path):
    """The control: a message that is held twice."""
    copies = []

    def twice(path):
        copies.append(np.fromfile(path, np.uint8))
        return copies[-1].copy()

    with pytest.raises(AssertionError):
        assert held(tmp_path, twice) <= 8 * NUMBERS + SMALL
