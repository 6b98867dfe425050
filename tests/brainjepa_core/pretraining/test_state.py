"""States on disk: everything a step depends on, for the same data and settings only."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import (
    PROVENANCE,
    People,
    bits,
    make_model,
    make_recipe,
    make_training,
    same,
)

from brainjepa_core.models.checkpoint import Provenance, read_model
from brainjepa_core.pretraining import state
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.state import (
    load_optimizer_arrays,
    optimizer_arrays,
    read_state,
    state_folders,
    write_state,
)
from brainjepa_core.pretraining.step import Training


def advance(training: Training, steps: int) -> Training:
    for _ in range(steps):
        batches = batches_of_step(
            People(ragged=True), training.model, training.settings, training.step
        )
        training.advance(batches)
    return training


@pytest.fixture
def saved(tmp_path) -> Path:
    return write_state(tmp_path, advance(make_training(), 3), PROVENANCE)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize(
    "choices", [{}, {"accumulation": 2, "clip_norm": 0.1}, {"optimizer": "sgd"}]
)
def test_a_state_goes_on_bit_for_bit(tmp_path, steps, choices):
    straight = advance(make_training(**choices), steps)
    path = write_state(tmp_path, straight, PROVENANCE)
    resumed = Training(make_model(seed=1), make_recipe(**choices))
    advance(resumed, 2)  # whatever it was before
    read_state(path, resumed, PROVENANCE)
    assert resumed.step == steps and same(bits(resumed), bits(straight))
    assert same(bits(advance(resumed, 3)), bits(advance(straight, 3)))


def test_a_state_is_a_model_folder(saved):
    model, provenance = read_model(saved)
    expected = advance(make_training(), 3).model.state_dict()
    assert provenance == PROVENANCE
    assert all(torch.equal(v, expected[k]) for k, v in model.state_dict().items())


def test_reading_forgets_a_loss_that_was_not_finite(saved):
    training = make_training()
    batches = batches_of_step(People(), training.model, training.settings, 0)
    batches[0].x.fill_(torch.nan)
    training.advance(batches)
    assert training.first_bad_step() == 0
    read_state(saved, training, PROVENANCE)
    assert training.first_bad_step() is None


def test_the_arrays_have_names(saved):
    training = make_training()
    trained = [n for n, p in training.model.named_parameters() if p.requires_grad]
    names = {f"{m}.{n}" for m in ("exp_avg", "exp_avg_sq", "step") for n in trained}
    arrays = load_file(saved / "optimizer.safetensors")
    assert arrays.keys() == names
    assert all(float(arrays[f"step.{n}"]) == 3 for n in trained)
    assert json.loads((saved / "training.json").read_text())["step"] == 3


def test_only_the_newest_two_are_kept(tmp_path):
    training = make_training()
    for step in range(5):
        training.step = step * 30_000_000  # also where eight digits are not enough
        write_state(tmp_path, training, PROVENANCE)
    names = [path.name for path in state_folders(tmp_path)]
    assert names == ["step-90000000", "step-120000000"]
    assert sorted(p.name for p in (tmp_path / "states").iterdir()) == sorted(names)


def test_half_a_state_is_no_state(tmp_path, monkeypatch):
    training = advance(make_training(), 1)
    write_state(tmp_path, training, PROVENANCE)
    advance(training, 1)

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space left"):
        patched.setattr(state, "save_file", full_disk)
        write_state(tmp_path, training, PROVENANCE)
    assert [p.name for p in (tmp_path / "states").iterdir()] == ["step-00000001"]
    write_state(tmp_path, training, PROVENANCE)
    assert len(state_folders(tmp_path)) == 2


def test_saving_a_step_twice_keeps_the_first(saved):
    before = (saved / "model.safetensors").stat().st_mtime_ns
    assert write_state(saved.parents[1], advance(make_training(), 3), PROVENANCE) == saved
    assert (saved / "model.safetensors").stat().st_mtime_ns == before


def test_no_states(tmp_path):
    assert state_folders(tmp_path) == []
    (tmp_path / "states" / "step-00000001").mkdir(parents=True)  # without training.json
    aside = write_state(tmp_path, make_training(), PROVENANCE)
    aside.rename(aside.with_name(f"{aside.name}-damaged"))  # put aside by a user
    assert state_folders(tmp_path) == []


def changed(**fields) -> Provenance:
    return PROVENANCE.model_copy(update=fields)


REFUSALS = [
    (
        {"provenance": changed(rois=tuple("abdcef"))},
        r"6 ROIs of the data, found a checkpoint of 6 ROIs .* row 2 \(d against c\); bring",
    ),
    (
        {"provenance": changed(atlas="seven", rois=tuple("abcdefg"))},
        r"7 ROIs of the data, found .* of 6 ROIs .* row 6 \(g against nothing\)",
    ),
    (
        {"provenance": changed(basis_hash="c" * 64)},
        f"expected basis_hash c{{64}}, found {PROVENANCE.basis_hash} in the checkpoint; continue",
    ),
    (
        {"provenance": changed(signals={"frames": 12, "tr": 0.8})},
        r"expected signals .*0\.8.*, found .*2\.0.* in the checkpoint; .* start a new run",
    ),
    (
        {"model": make_model(width=12)},
        "expected model settings width = 12, found 8 in the state; continue with the settings",
    ),
    (
        {"model": make_model(recipe="published")},
        "expected model settings position_scaling = minmax, found rows in the state",
    ),
    (
        {"recipe": make_recipe(batch_size=2)},
        "expected the recipe batch_size = 2, found 4 in the state; .* continue with the saved",
    ),
    ({"recipe": make_recipe(schedule={"lr": 0.5})}, "recipe schedule = .*0.5.*, found .*0.01"),
    ({"recipe": make_recipe(seed=1)}, "expected the recipe seed = 1, found 0 in the state"),
]


@pytest.mark.parametrize(("other", "text"), REFUSALS)
def test_what_does_not_belong_together_is_refused(saved, other, text):
    training = Training(other.get("model", make_model()), other.get("recipe", make_recipe()))
    before = bits(training)
    with pytest.raises(ValueError, match=text):
        read_state(saved, training, other.get("provenance", PROVENANCE))
    assert training.step == 0 and same(before, bits(training))


def test_another_version_of_the_package_may_go_on(saved):
    read_state(saved, make_training(), changed(version="99"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


DAMAGES = [
    (lambda p: (p / "training.json").unlink(), "training.json and .*found no such file"),
    (lambda p: cut(p / "training.json"), "training.json and .*found damaged JSON"),
    (lambda p: (p / "training.json").write_text("[]"), "training.json and .*found damage, or"),
    (lambda p: (p / "training.json").write_text("{}"), "training.json and .*found a part missing"),
    (lambda p: (p / "optimizer.safetensors").unlink(), "found no such file; remove 'step-0"),
    (
        lambda p: cut(p / "optimizer.safetensors"),
        "found damage, .*; remove 'step-00000003'",
    ),
    (
        lambda p: save_file({}, p / "optimizer.safetensors"),
        "optimizer.safetensors, found a part",
    ),
    (lambda p: cut(p / "model.safetensors"), "weights in model.safetensors, found damage"),
    (lambda p: (p / "model.json").unlink(), "a model folder with model.json .*no such file in"),
    (shutil.rmtree, "a model folder with model.json .*no such file in"),
]


@pytest.mark.parametrize(("damage", "text"), DAMAGES)
def test_damage_is_named(saved, damage, text):
    damage(saved)
    training = make_training()
    before = bits(training)
    with pytest.raises(ValueError, match=text):
        read_state(saved, training, PROVENANCE)
    assert training.step == 0 and same(before, bits(training))


def test_foreign_moments_change_nothing():
    training = advance(make_training(), 2)
    before, arrays = bits(training), optimizer_arrays(training)
    name = "exp_avg.encoder.patch.weight"
    for wrong in (
        {k: v for k, v in arrays.items() if k != name},
        {**arrays, "exp_avg.encoder.cls": torch.zeros(3)},
        {**arrays, "max_exp_avg_sq.encoder.patch.weight": arrays[name]},
        {**arrays, name: arrays[name].T},
        {**arrays, "step.encoder.patch.weight": torch.zeros(2)},
    ):
        (key,) = set(wrong) ^ set(arrays) or {k for k in arrays if wrong[k] is not arrays[k]}
        text = rf"of this model's \d+ parameters, found 1 arrays .*\({re.escape(key)}\); continue"
        with pytest.raises(ValueError, match=text):
            load_optimizer_arrays(training, wrong)
        assert same(before, bits(training))


def test_moments_are_copied():
    training = advance(make_training(), 1)
    arrays = {k: v.clone() for k, v in optimizer_arrays(training).items()}
    load_optimizer_arrays(training, arrays)
    for value in arrays.values():
        value.fill_(torch.nan)
    assert all(torch.isfinite(v).all() for v in optimizer_arrays(training).values())


def test_a_state_of_another_version_is_refused(tmp_path):
    training = make_training()
    path = write_state(tmp_path, training, PROVENANCE)
    facts = json.loads((path / "training.json").read_text())
    del facts["format"]
    (path / "training.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"^expected a training state of format 2, found one of f"):
        read_state(path, make_training(), PROVENANCE)


def test_what_a_kill_left_half_written_goes_with_the_next_state(tmp_path):
    left = tmp_path / "states" / ".step-00000001.x.tmp"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    (tmp_path / "states" / ".other.tmp").write_bytes(b"half")
    write_state(tmp_path, make_training(), PROVENANCE)
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["step-00000000"]
