"""The benchmark of private steps still knows how trainings are made."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import bench_dp_step


def test_it_tells_the_ratio(capsys):
    args = Namespace(family="brain_jepa", preset="tiny", people=2, repeats=1)
    bench_dp_step.compare(args, rois=12)
    assert "60 tokens, 2 people" in (told := capsys.readouterr().out) and "ratio " in told
