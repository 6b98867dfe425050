"""What each installation needs: commands start without what only others use, and say what lacks.

A child process in which modules cannot be found stands for an environment without them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import brainjepa
from brainjepa_core import extras
from brainjepa_core.evaluation.report.mlflow_runs import log_evaluation
from brainjepa_core.evaluation.scores.results import Results, Row
from brainjepa_core.extras import EXTRAS, require
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.tree import write_tree

ROOT = Path(__file__).parents[1]
# As if not installed: neither an import nor a look at what there is finds them.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
missing = set(sys.argv[1].split(","))
found = PathFinder.find_spec
def find(name, *rest):
    return None if name.split(".")[0] in missing else found(name, *rest)
PathFinder.find_spec = find
sys.argv[1:] = sys.argv[2:]
"""
COMMAND = "from brainjepa import main\nmain()"
# What uses a model that is there, or makes one of stores that are there.
MODULES = (
    "brainjepa_client.guarding.dry_run",
    "brainjepa_client.using.site_evaluation",
    "brainjepa_client.using.site_interpretation",
    "brainjepa_core.evaluation.measured_run",
    "brainjepa_core.pretraining.local",
    "brainjepa_server.reporting.report",
    "brainjepa_simulations.evaluating.many_models",
)
EXTRA_MODULES = (*EXTRAS, "opacus", "isal")


def without(modules: tuple[str, ...], folder: Path, *words: object, program: str = COMMAND):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + program, ",".join(modules), *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_site_s_preparation_needs_no_torch_and_no_extra(tmp_path):
    cohort = CohortSettings(sites=1, subjects_per_site=2, rois=12, networks=5, frames=60)
    site = write_tree(tmp_path / "site", generate_site(cohort, 0)).site
    for words in (["--help"], ["--version"], ["site", "--help"], ["site", "validate", site],
                  ["site", "prepare", site], ["site", "qc", site]):  # fmt: skip
        done = without(("torch", *EXTRA_MODULES), tmp_path, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "store" / "store.json").exists()


def test_a_model_is_made_and_used_without_an_extra(tmp_path):
    done = without(EXTRA_MODULES, tmp_path, program=f"import {', '.join(MODULES)}")
    assert done.returncode == 0, done.stderr


JOIN = ("site", "join", "kit", "old/study.yaml")
RAY = ("simulate", "demo", "--out", "new", "--engine", "flower")


@pytest.mark.parametrize(
    ("missing", "words", "what", "extras"),
    [
        (["flwr"], ["demo", "--out", "old"], "flwr, which is", "federation"),
        (["flwr"], ["evaluate-sites", ".", "--task", "age"], "flwr, which is", "federation"),
        (["ray"], RAY, "ray, which is", "simulation"),
        (["cryptography"], ["server", "sites", "."], "cryptography, which is", "federation"),
        (["cryptography"], JOIN, "cryptography, which is", "federation"),
        (["flwr", "ray"], RAY, "flwr and ray, which are", "federation,simulation"),
    ],
)
def test_a_command_says_in_one_line_what_to_install(missing, words, what, extras, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "study.yaml").write_text("name: an earlier demo\n")
    done = without(missing, tmp_path, *words)
    mend = f"pip install 'brainjepa-federated[{extras}]'"
    assert done.returncode == 1
    assert done.stderr == f"Error: expected {what} not installed; {mend}\n"
    assert (tmp_path / "old" / "study.yaml").exists()  # nothing is removed before
    assert not (tmp_path / "new").exists()


def test_the_helper_names_the_extra(monkeypatch):
    require()
    require(*EXTRAS)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    text = (
        r"^expected mlflow, which is not installed; pip install 'brainjepa-federated\[tracking\]'$"
    )
    with pytest.raises(ValueError, match=text):
        require("flwr", "mlflow")


@pytest.mark.parametrize("found", ["1.40.2", "1.42.0", "1.410.0", "2.0"])
def test_another_flower_is_told_with_both_versions(monkeypatch, found):
    monkeypatch.setattr(extras, "installed", lambda module: found)
    text = rf"^expected flwr 1\.41, found {found}; pip install 'brainjepa-federated\[federation\]'$"
    with pytest.raises(ValueError, match=text):
        require("flwr", "cryptography")
    require("cryptography")


def test_the_pinned_versions_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for module, version in extras.PINNED.items():
        needed = project["optional-dependencies"][EXTRAS[module]]
        assert f"{module}=={version}.*" in needed


def test_a_python_that_is_too_old_is_told(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    with pytest.raises(
        SystemExit, match=r"^Error: expected Python 3\.11 or newer, found 3\.10; make"
    ):
        brainjepa.main()


@pytest.mark.skipif(shutil.which("python3.10") is None, reason="needs an old Python")
def test_an_old_python_itself_says_so():
    line = ["python3.10", "-m", "brainjepa", "--version"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if "pyenv" in done.stderr and done.returncode == 127:
        pytest.skip("needs an old Python")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: expected Python 3.11 or newer, found 3.10; make an")


def test_without_mlflow_results_are_complete_and_the_mend_is_said(monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    mend = "pip install 'brainjepa-federated[tracking]'"
    row = Row("probe", "age", "kfold", "r", 0.5, 0.1, 0.4, 0.6, 40)
    assert not log_evaluation(tmp_path / "eval", Results((row,)), {}, {})
    assert mend in caplog.messages[-1] and "complete in the folder" in caplog.messages[-1]
    assert StudyTracker(tmp_path / "study").start("study", {}) is None
    assert mend in caplog.messages[-1] and "training goes on" in caplog.messages[-1]


def test_files_of_the_folder_where_it_starts_are_not_ours(tmp_path):
    for name in ("client.py", "server.py", "simulations.py"):
        (tmp_path / name).write_text("raise RuntimeError('a file of somebody else was run')\n")
    done = subprocess.run(
        [sys.executable, "-m", "brainjepa", "server", "report", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
