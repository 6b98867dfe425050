"""What real files and habits did to the product: each a small site on the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from child_process import environment
from shared_data import ROOT as SHARED

HERE = Path(__file__).parent
CASES = sorted((SHARED / "cases").glob("[0-9]*.py"))
PATIENCE = 240.0  # seconds
SLOW = {"54_mlflow_same_name", "55_mlflow_paths"}  # import MLflow's server, half a minute together
# As the cases have it for each of their calls: some of it is read when modules are imported.
TERMINAL = {"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.skipif(not CASES, reason="needs the cases beside the checkout")


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """A program that takes the place of Python, without its imports (`command_server`)."""
    with tempfile.TemporaryDirectory(prefix="cases-") as folder:
        server = subprocess.Popen(
            [sys.executable, str(HERE / "command_server.py"), folder],
            env=environment(**TERMINAL),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None and server.stdout.readline() == "here\n"
        yield Path(folder) / "python"
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[pytest.mark.slow] * (c.stem in SLOW), id=c.stem) for c in CASES],
)
def test_case(python, case):
    """It says itself whether the product behaves; 0 is right, 1 wrong, 2 a broken case."""
    done = subprocess.run(
        [str(python), str(case)],
        env={**environment(), **TERMINAL, "BRAINJEPA_REPO": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=os.fspath(tempfile.gettempdir()),
    )
    assert done.returncode == 0, f"{case.stem}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize(("words", "code"), [("done(False, bj('--version'))", 1), ("1 / 0", 2)])
def test_a_case_can_be_wrong_or_broken(python, tmp_path, words, code):
    """Told through the program as by Python itself."""
    case = tmp_path / "00_case.py"
    case.write_text(
        f"import sys\nsys.path.insert(0, {str(SHARED / 'cases')!r})\nfrom kit import *\n{words}\n"
    )
    done = subprocess.run([str(python), str(case)], capture_output=True, text=True, check=False)
    assert done.returncode == code and ("brainjepa" in done.stdout) == (code == 1), done
