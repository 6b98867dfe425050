"""A run goes on with its own people, scans and settings, and with no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.pretraining import local
from brainjepa_core.pretraining.local import LOCK, pretrain_locally
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.store import ScanStore

ATLAS = Atlas.from_names([f"r{i}" for i in range(6)])
SETTINGS = {
    "model": {
        "width": 8, "depth": 1, "heads": 2, "patch": 4,
        "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2,
    },
    "windows": {"frames": 16},
    "basis": {"components": 2, "sparsity": 0.2},
    "training": {"batch_size": 2, "schedule": {"total_steps": 2, "warmup_steps": 1}},
}  # fmt: skip


def make_store(path: Path, seed: int = 0, people: str = "stuv", tr: float = 2.0, **facts):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((6, 6)) / 3 + np.eye(6)
    store = ScanStore.create(path, ATLAS)
    for person in people:
        series = mixing @ rng.standard_normal((6, 40))
        store.append(series, subject=person, tr=tr, phenotypes=facts)
    return store


def train(run: Path, stores, **changes) -> Path:
    study = PretrainingSettings.model_validate({**SETTINGS, **changes})
    return pretrain_locally(stores, run, study, progress=False)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    train(folder / "run", [make_store(folder / "store")])
    return folder / "run"


@pytest.mark.parametrize(
    ("store", "changes", "differ"),
    [
        ({"seed": 1}, {}, "scans"),
        ({"tr": 1.0}, {}, "scans"),
        ({"people": "stuvw"}, {}, "people, scans"),
        ({"people": "stux"}, {}, "people"),
        ({}, {"basis": {"components": 2, "sparsity": 0.5}}, "basis.sparsity"),
        ({}, {"windows": {"frames": 12}}, "model.frames, windows.frames"),
        ({}, {"family": "masked_autoencoder"}, "family"),
        (
            {},
            {"training": {**SETTINGS["training"], "seed": 1}},
            "training.seed",
        ),
    ],
)
def test_what_differs_is_refused_by_name(run, tmp_path, store, changes, differ):
    before = contents(run)
    if "family" in changes:
        keep = ("width", "depth", "heads", "patch")
        changes = {**changes, "model": {k: SETTINGS["model"][k] for k in keep}}
    with pytest.raises(ValueError, match=f"^expected the same {differ}.* as the results in this"):
        train(run, [make_store(tmp_path / "store", **store)], **changes)
    assert contents(run) == before


def test_equal_data_elsewhere_and_other_phenotypes_go_on(run, tmp_path):
    before = contents(run)
    sizes = {**SETTINGS["model"], "predictor_width": 8}
    train(run, [make_store(tmp_path / "other name", age=70)], preset="tiny", model=sizes)
    assert contents(run) == before


def test_a_run_that_is_done_stays_as_it_is_and_nothing_is_summed_anew(run, tmp_path, monkeypatch):
    before = contents(run)
    asked = []
    monkeypatch.setattr(local, "connectivity_sum", lambda *given: asked.append(given))
    train(run, [make_store(tmp_path / "store")])
    assert contents(run) == before and not asked


def test_connectivity_is_summed_in_as_many_processes_as_are_given(tmp_path, monkeypatch):
    given, real = [], local.connectivity_sum
    monkeypatch.setattr(local, "connectivity_sum", lambda *how: given.append(how[1]) or real(*how))
    study = PretrainingSettings.model_validate(SETTINGS)
    stores = [make_store(tmp_path / "store")]
    pretrain_locally(stores, tmp_path / "run", study, progress=False, processes=3)
    assert given == [3]


def test_order_of_stores_counts(tmp_path):
    stores = [make_store(tmp_path / name, seed) for seed, name in enumerate("ab")]
    train(tmp_path / "run", stores)
    with pytest.raises(ValueError, match="expected the same scans as"):
        train(tmp_path / "run", stores[::-1])


def test_a_run_without_a_word_of_its_origin_is_refused(run, tmp_path):
    store = make_store(tmp_path / "store")
    train(tmp_path / "run", [store])
    (tmp_path / "run" / "origin.json").unlink()
    with pytest.raises(ValueError, match=r"origin.json beside basis.npz, found none"):
        train(tmp_path / "run", [store])


def test_settings_that_fail_leave_the_folder_free(tmp_path):
    stores = [make_store(tmp_path / "store")]
    with pytest.raises(ValueError, match="n_components from 1 to 5"):
        train(tmp_path / "run", stores, basis={"components": 9})
    assert contents(tmp_path / "run") == {tmp_path / "run" / LOCK: b""}
    train(tmp_path / "run", stores)


def test_nobody_is_named(run):
    told = json.loads((run / "origin.json").read_text())
    assert {"ROIs", "people", "scans", "model", "windows", "basis", "training"} <= told.keys()
    assert all(len(told[part]) == 64 for part in ("ROIs", "people", "scans"))
