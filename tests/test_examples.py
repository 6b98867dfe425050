"""Every example runs as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from child_process import environment

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(p.name for p in EXAMPLES.glob("*.py") if p.name != "made_series.py")


@pytest.mark.parametrize(
    "script",
    [pytest.param(s, marks=[pytest.mark.slow] * (s == "classify.py")) for s in SCRIPTS],
)
def test_it_runs(script, tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script)],
        cwd=tmp_path,
        env=environment(OMP_NUM_THREADS="1", MPLBACKEND="agg"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and not list(tmp_path.iterdir())
    if script == "classify.py":
        assert int(re.search(r"(\d+)% right", done.stdout)[1]) > 70
    if script == "embed_series.py":  # the made networks are blocks: pairs lie where they belong
        within, between = re.search(r"networks (\S+), between them (\S+)", done.stdout).groups()
        assert float(within) > 0.2 > abs(float(between))


def test_the_page_lists_them():
    text = (EXAMPLES / "README.rst").read_text()
    assert sorted(re.findall(r"^``(\w+\.py)``  ", text, re.MULTILINE)) == SCRIPTS
    assert len(SCRIPTS) == 5
