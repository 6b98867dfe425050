"""What is public: the names, how they are imported, and ten lines that embed an array."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from child_process import environment

import brainjepa


def test_every_public_name_is_there_and_documented():
    for name in brainjepa.__all__:
        found = getattr(brainjepa, name)
        assert name == "__version__" or found.__doc__, name
        assert name in dir(brainjepa)
    assert sorted(brainjepa.__all__) == brainjepa.__all__
    with pytest.raises(AttributeError, match="module 'brainjepa' has no attribute 'nosuch'"):
        _ = brainjepa.nosuch


def test_names_are_imported_when_they_are_asked_for():
    program = (
        "import sys, brainjepa; brainjepa.__version__, dir(brainjepa); print(*sys.modules);"
        "print(); brainjepa.load_atlas; print(*sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n\n")
    before, after = (set(text.split()) for text in found)
    assert not {"numpy", "torch", "typer", "brainjepa_core.atlas"} & before
    assert "brainjepa_core.atlas" in after and "torch" not in after


def test_the_homes_of_names_are_those_the_type_checker_sees():
    for name, home in brainjepa._HOMES.items():
        assert getattr(importlib.import_module(home), name) is getattr(brainjepa, name)
    assert {*brainjepa._HOMES, "__version__"} == set(brainjepa.__all__)


def test_stores_are_made_amended_and_opened(tmp_path):
    store = brainjepa.create_store(tmp_path / "store", ["left", "right", "middle"])
    series = np.random.default_rng(0).standard_normal((3, 20))
    assert store.append(series, subject="one", tr=2.0)
    opened = brainjepa.open_store(tmp_path / "store")
    (record,) = opened.records
    assert record.subject == "one" and np.allclose(opened.series(record), series, atol=1e-6)
    assert brainjepa.create_store(tmp_path / "store", opened.atlas).records == opened.records
    with pytest.raises(ValueError, match="expected a store of atlas"):
        brainjepa.create_store(tmp_path / "store", ["a", "b"])


def test_a_consensus_basis_and_a_diffusion_map_of_series(tmp_path):
    rng = np.random.default_rng(0)
    store = brainjepa.create_store(tmp_path / "store", [f"r{i}" for i in range(12)])
    for number in range(4):
        signals = rng.standard_normal((3, 60))
        store.append(
            rng.standard_normal((12, 3)) @ signals + rng.standard_normal((12, 60)),
            subject=f"{number}",
            tr=2.0,
        )
    windows = brainjepa.Windows([store], brainjepa.WindowSettings(frames=30))
    basis = brainjepa.consensus_basis(windows, components=2, sparsity=0.5)
    assert isinstance(basis, brainjepa.ConsensusBasis) and basis.gradients.shape == (12, 2)
    fc = np.corrcoef(rng.standard_normal((12, 100)))
    assert brainjepa.diffusion_map(fc, 2, 0.5).gradients.shape == (12, 2)
