"""What real files and habits did to the product: each a small site on the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared_data import ROOT as SHARED

ROOT = Path(__file__).parents[1]
CASES = sorted((SHARED / "cases").glob("[0-9]*.py"))
PATIENCE = 240.0  # seconds


@pytest.mark.skipif(not CASES, reason="needs the cases beside the checkout")
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_case(case):
    """It says itself whether the product behaves; 0 is right, 1 wrong, 2 a broken case."""
    folders = (case.parent, ROOT, ROOT / "client", ROOT / "server", ROOT / "simulations")
    environment = {
        **os.environ,
        "BRAINJEPA_REPO": str(ROOT),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    done = subprocess.run(
        [sys.executable, str(case)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{case.stem}: {done.stdout}{done.stderr}"
