"""SwiFT by three hospitals of painted scans: images, volumes, a model of all, read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_consortium import TOTAL, plan, run, same, weights

import brainjepa
from brainjepa_client.approving.task_words import volumes_in_words
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.settings import SiteSettings
from brainjepa_client.using.site_evaluation import write_embeddings
from brainjepa_core.arrays import load_arrays
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import FinetuneMethod
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.methods.model_methods import probe_methods
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import model_arrays, read_model, write_model
from brainjepa_core.pretraining.local import pretrain_locally
from brainjepa_core.pretraining.model_windows import read_windows
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_server import study as study_module
from brainjepa_server.record.history import read_history
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.tree import write_tree
from brainjepa_simulations.scenario import Scenario

COHORT = CohortSettings(
    sites=3, subjects_per_site=8, rois=8, networks=4, latents=3, frames=30, missing_rois=0
)
NAMES = load_atlas().rois[:16:2]  # whose places a coordinator knows
VOLUME = {"size": [8, 8, 8], "mm": 8}
MODEL = {
    "volume": VOLUME["size"], "mm": VOLUME["mm"], "cube": 2, "window": 2, "width": 4,
    "depths": [1, 1], "heads": [1, 2], "projection": 4,
}  # fmt: skip
AGE = {"phenotypes": [{"column": "age", "mean": 50.0, "sd": 20.0}]}


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory) -> Path:
    """Stores with volumes of three hospitals, each made of painted images by its own settings."""
    folder = tmp_path_factory.mktemp("hospitals")
    for number in range(COHORT.sites):
        site = generate_site(COHORT, number)
        tree = write_tree(folder / "images" / site.name, site, atlas=Atlas.from_names(NAMES, "8"))
        content = yaml.safe_load(tree.site.read_text())
        content["store"] = str(folder / "stores" / site.name)
        content["prepare"] |= {"volumes": VOLUME, "processes": 1, "exclude": {"mean_fd": None}}
        tree.site.write_text(yaml.safe_dump(content))
        reports = list(Preparation.of(read_settings(tree.site, SiteSettings)).run())
        assert [report.reasons for report in reports if report.status != "included"] == []
    return folder / "stores"


def scenario(data: Path, model: dict, training: dict | None = None) -> Scenario:
    content = plan(3, 2, training=training)
    del content["cohort"]
    content["data"] = str(data)
    content["study"]["pretraining"] |= {
        "family": "swift",
        "model": {**MODEL, **model},
        "windows": {"frames": 6, "temporal": "official"},
        "basis": {"kind": "centroids"},
    }
    return Scenario.model_validate(content)


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"norm": "batch"}, AGE], ids=["contrast", "batch", "age"])
def test_three_hospitals_learn_and_a_study_that_was_stopped_goes_on_to_the_bit(
    hospitals, tmp_path, model, monkeypatch
):
    chosen = scenario(hospitals, model)
    run(chosen, tmp_path / "straight")
    rounds = read_history(tmp_path / "straight").rounds
    assert len(rounds) == TOTAL // 2 and all(len(r.sites) == 3 for r in rounds)
    assert all(np.isfinite(r.loss) for r in rounds) and rounds[-1].yardstick
    found = weights(tmp_path / "straight")
    with monkeypatch.context() as patch:
        real, calls = study_module.write_round, []

        def stopping(*arguments, **named):
            calls.append(real(*arguments, **named))
            if len(calls) == 2:
                raise InterruptedError

        patch.setattr(study_module, "write_round", stopping)
        with pytest.raises(InterruptedError):
            run(chosen, tmp_path / "stopped")
    run(chosen, tmp_path / "stopped")
    assert same(weights(tmp_path / "stopped"), found)
    exported_and_read(tmp_path / "straight", found, tmp_path / "copy")
    probed_and_tuned(tmp_path / "straight", hospitals)


def exported_and_read(study, found, copy) -> None:
    model, told = read_model(study / "final")
    write_model(copy, model, told)
    again, _ = read_model(copy)
    assert same({name: value.numpy() for name, value in model_arrays(again).items()}, found)
    with pytest.raises(ValueError, match="found one that reads volumes; embed the people of a "):
        brainjepa.load(copy).embed(np.zeros((8, 50)), tr=2)


def probed_and_tuned(study, hospitals) -> None:
    stores = [ScanStore.open(p.parent) for p in sorted(hospitals.glob("*/store.json"))]
    model = read_model(study / "final")[0].eval()
    pretraining = scenario(hospitals, {}).study.pretraining
    windows = read_windows([model.settings], stores, pretraining.windows)
    data = task_data(TaskSettings(name="age", column="age", kind="regression"), windows)
    split = splits_of(ProtocolSettings(kind="holdout", seeds=1), data)[0]
    methods = probe_methods("swift", model, windows, SignalReadOuts(windows))
    assert any("published probe" in method.name for method in methods)
    methods.append(FinetuneMethod("tuned", model, windows, FinetuneSettings(steps=2)))
    for method in methods:
        assert np.isfinite(method.predict(data, split)).all(), method.name


@pytest.mark.slow
def test_a_site_whose_volumes_do_not_fit_reads_why_in_its_own_log(hospitals, tmp_path):
    with pytest.raises(ValueError, match=r"asks for at least 1 people .* and it has fewer") as told:
        run(scenario(hospitals, {"mm": 4}), tmp_path)
    assert "voxels" not in str(told.value) and "sub-" not in str(told.value)
    log = (tmp_path / "site-state" / "site-01" / "log.txt").read_text()
    reason = (
        "expected volumes of 8 x 8 x 8 voxels of 4 mm, as the model reads them, found 8 x 8 x 8"
    )
    assert log.count(f": {reason} voxels of 8 mm; prepare them of that size") == 8


@pytest.mark.slow
def test_a_site_is_told_of_volumes_and_embeds_its_people(hospitals, tmp_path):
    site = read_settings(
        sorted(hospitals.parent.glob("images/*/site.yaml"))[0], SiteSettings, state=tmp_path / "own"
    )
    chosen, store = scenario(hospitals, {}).study.pretraining, ScanStore.open(site.store)
    (line,) = volumes_in_words(chosen, store)
    assert line == (
        "training reads volumes of scans (8 x 8 x 8 voxels of 8 mm) beside their series, which "
        "8 of 8 scans here have"
    )
    (line,) = volumes_in_words(scenario(hospitals, {"mm": 4}).study.pretraining, store)
    assert line.endswith(
        "0 of 8 scans here have: it can take no part until its store is made with them, in "
        "another folder (prepare.volumes)"
    )
    assert volumes_in_words(PretrainingSettings(), store) == []
    pretrain_locally([store], tmp_path / "run", chosen, progress=False)
    found = load_arrays(write_embeddings(site, tmp_path / "run", tmp_path / "embedded.npz"))
    model = read_model(tmp_path / "run" / "final")[0].eval()
    windows = read_windows([model.settings], [store], chosen.windows)
    assert found["subject"].tolist() == [p.records[0].subject for p in windows.people]
    for person, vector in enumerate(found["mean"]):
        x = torch.from_numpy(windows.full_windows(person)[0])
        expected = model.encode(x).mean((0, 1))
        assert len(x) == 5 and torch.allclose(torch.from_numpy(vector), expected, atol=1e-5)


@pytest.mark.slow
def test_one_hospital_by_the_federation_is_its_own_training_to_the_bit(hospitals, tmp_path):
    alone = tmp_path / "data"
    alone.mkdir()
    first = sorted(hospitals.glob("*/store.json"))[0].parent
    (alone / first.name).symlink_to(first)
    chosen = scenario(alone, {})
    run(chosen, tmp_path / "study")
    study = chosen.study
    windows = study.pretraining.windows_of([ScanStore.open(first)])
    folds = folds_of_windows(windows, study.pretraining.training.seed, study.folds)
    people = windows.only(np.flatnonzero(folds != study.held_out_fold).tolist())
    basis = ConsensusBasis.load(tmp_path / "study" / "basis.npz")
    training = study.pretraining.new_training(basis, "cpu")
    for step in range(TOTAL):
        training.advance(batches_of_step(people, training.model, study.pretraining.training, step))
    ours = {name: value.numpy() for name, value in model_arrays(training.model).items()}
    assert same(weights(tmp_path / "study"), ours)
