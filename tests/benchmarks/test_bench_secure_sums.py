"""The coordinator's memory in a round under secure sums, by the benchmark's own round."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import bench_secure_sums


def test_a_round_holds_the_sum_and_one_message_and_then_the_mean_weights(monkeypatch):
    """8 bytes a weight, beyond those that the round began with; a slope, so no constant is in it.

    A little more for the last of 87 arrays, of which sum and mean are both there.
    """

    def bytes_since(marks: list[int]) -> float:
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        marks.append(now)
        return float(now if len(marks) == 1 else most)

    def bytes_of(numbers: int) -> float:
        marks: list[int] = []
        monkeypatch.setattr(bench_secure_sums, "peak_bytes", lambda: bytes_since(marks))
        return bench_secure_sums.whole_round(numbers, 3, 0)["round_bytes_a_number"] * numbers

    tracemalloc.start()
    try:
        slope = (bytes_of(1 << 22) - bytes_of(1 << 20)) / (3 << 20)
    finally:
        tracemalloc.stop()
    assert 8 <= slope <= 8.1
