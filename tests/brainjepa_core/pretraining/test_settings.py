"""A local study: settings that fit together, and a run over real windows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from small_runs import bits, losses, same

from brainjepa_core.atlas import Atlas
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.pretraining.loop import NonFiniteLoss, pretrain
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows

ATLAS = Atlas.from_names([f"r{i}" for i in range(8)], "eight")
SIZES = dict(
    patch=10, width=12, depth=1, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2
)


def make_study(**choices) -> PretrainingSettings:
    fields = {
        "model": SIZES,
        "windows": {"frames": 40},
        "basis": {"components": 3, "sparsity": 0.5},
        "training": {"batch_size": 4, "schedule": {"total_steps": 6, "lr": 0.01}},
    }
    return PretrainingSettings.model_validate({**fields, **choices})


def make_basis(rois: int = 8, seed: int = 0) -> ConsensusBasis:
    gradients = np.random.default_rng(seed).standard_normal((rois, 3))
    return ConsensusBasis(tuple(f"r{i}" for i in range(rois)), gradients, np.ones(3))


def make_windows(path, study: PretrainingSettings, people: int = 5) -> Windows:
    """Scans of two TRs, one with a missing ROI and one shorter than a window."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((8, 8)) / 3 + np.eye(8)
    store = ScanStore.create(path, ATLAS)
    for i in range(people):
        series = mixing @ rng.standard_normal((8, 30 if i == 3 else 120))
        if i == 1:
            series[2] = np.nan
        store.append(series, subject=f"sub-{i}", tr=2.0 if i % 2 else 1.0)
    return Windows([store], study.windows)


def test_defaults_are_the_tiny_model_and_the_default_recipe():
    s = PretrainingSettings().model_settings(rois=450)
    assert (s.rois, s.frames, s.components, s.width) == (450, 160, 30, 96)
    assert s.objective.holds_rank and s.position_scaling == "rows"
    published = PretrainingSettings(preset="base", recipe="published").model_settings(400)
    assert published.width == 768 and not published.objective.holds_rank


def test_sizes_follow_from_windows_and_basis():
    s = make_study().model_settings(rois=8)
    assert (s.rois, s.frames, s.components, s.patch, s.width) == (8, 40, 3, 10, 12)
    assert s.time_patches == 4


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"preset": "huge"}, "a preset among tiny, small, base, large, found 'huge'"),
        ({"recipe": "mine"}, "expected a recipe among default, published, found 'mine'"),
        ({"model": {"rois": 9}}, "a model without rois, which follow from the data and other"),
        ({"model": {"adapters": 2}}, "without adapters, .* basis.components and training.train"),
        ({"model": {"frames": 80, "components": 4}}, "a model without components, frames, which"),
        ({"model": {"patch": 7}}, "model: .*multiple of patch, found 40 frames and patch 7"),
        ({"model": {"widht": 8}}, "model: widht: no such field; check the spelling or remove it"),
        ({"basis": {"sparsity": 1.0}}, r"basis\.sparsity\n.*less than 1"),
        ({"basis": {"components": 0}}, r"basis\.components\n.*greater than or equal to 1"),
        ({"windows": {"tr": 0}}, r"windows\.tr\n.*greater than 0"),
        ({"training": {}}, r"training\.schedule\n.*required"),
        ({"steps": 5}, "steps\n.*not permitted"),
    ],
)
def test_bad_settings(fields, text):
    with pytest.raises(ValidationError, match=text):
        make_study(**fields)


@given(st.integers(0, 2**40), st.integers(0, 1000))
def test_a_new_model_is_a_function_of_the_seed(seed, noise):
    training = {"seed": seed, "schedule": {"total_steps": 6}}
    study, basis = make_study(training=training), make_basis()
    torch.manual_seed(noise)
    before = torch.random.get_rng_state()
    model = study.new_model(basis)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    again = study.new_training(basis, "cpu")
    assert again.step == 0 and again.settings == study.training
    a, b = model.state_dict(), again.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(a["basis"], torch.tensor(basis.gradients, dtype=torch.float32))
    other = make_study(training={**training, "seed": seed + 1}).new_model(basis)
    assert not torch.equal(other.encoder.patch.weight, model.encoder.patch.weight)


def test_a_basis_of_another_size():
    with pytest.raises(ValueError, match=r"ROI basis of shape \(8, 4\), found shape \(8, 3\)"):
        make_study(basis={"components": 4}).new_model(make_basis())


def test_provenance(tmp_path):
    study = make_study()
    windows, basis = make_windows(tmp_path, study), make_basis()
    found = provenance(windows, basis)
    assert (found.atlas, found.rois, found.basis_hash) == ("eight", ATLAS.rois, basis.hash)
    assert found.signals == windows.describe() and found.signals["tr"] == 2.0
    found.require(provenance(windows, make_basis()))
    with pytest.raises(ValueError, match=r"expected basis_hash .* in the checkpoint"):
        found.require(provenance(windows, make_basis(seed=1)))
    other = make_windows(tmp_path / "b", make_study(windows={"frames": 40, "tr": 1.0}))
    with pytest.raises(ValueError, match=r"expected signals .*'tr': 2.0.*, found .*'tr': 1.0"):
        found.require(provenance(other, basis))
    assert "sub-" not in json.dumps(found.model_dump())


def test_a_study_over_real_windows_stops_and_goes_on(tmp_path):
    study = make_study()
    windows = make_windows(tmp_path / "store", study)
    basis = consensus_basis(windows, study.basis.components, study.basis.sparsity)
    tied = provenance(windows, basis)
    straight, resumed = (study.new_training(basis, "cpu") for _ in range(2))
    pretrain(straight, windows, tied, tmp_path / "a", progress=False)
    small_cache = Windows(windows.stores, study.windows, cache_bytes=1)
    pretrain(resumed, small_cache, tied, tmp_path / "b", until=4, progress=False)
    resumed = study.new_training(basis, "cpu")
    pretrain(resumed, small_cache, tied, tmp_path / "b", progress=False)
    assert same(bits(straight), bits(resumed))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    model, found = read_model(tmp_path / "b" / "final")
    assert found == tied and torch.isfinite(model.encoder.patch.weight).all()


def test_a_bad_run_names_its_people_on_this_machine_only(tmp_path):
    study = make_study(
        training={"batch_size": 4, "schedule": {"total_steps": 6, "lr": 1e38, "start_lr": 1e38}}
    )
    windows = make_windows(tmp_path / "store", study)
    training = study.new_training(make_basis(), "cpu")
    with pytest.raises(NonFiniteLoss) as caught:
        pretrain(training, windows, provenance(windows, make_basis()), tmp_path, progress=False)
    assert "sub-" not in str(caught.value)
    people = json.loads((tmp_path / "nonfinite.json").read_text())["people"]
    assert len(people) == 4 and all(name.startswith("store/sub-") for name in people)
