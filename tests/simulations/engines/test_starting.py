"""A study that goes on from a model: an earlier study's, or a published checkpoint."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_consortium import plan, run, same, summary, weights

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.published import write_official
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_server.record.history import RANDOM, START, read_history
from brainjepa_server.reporting.verdict import verdict
from brainjepa_server.settings import StartSettings
from brainjepa_server.starting import read_start
from brainjepa_simulations.scenario import Scenario


def scenario(start=None, model: dict | None = None, **changes) -> Scenario:
    content = plan(2, 3, **changes)
    if start is not None:
        content["study"]["start_from"] = {key: str(value) for key, value in start.items()}
    if model is not None:
        content["study"]["pretraining"] |= {"recipe": "published", "model": model}
    return Scenario.model_validate(content)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return run(scenario(), tmp_path_factory.mktemp("earlier"))


@pytest.fixture(scope="module")
def later(earlier, tmp_path_factory):
    """A study of another cohort that goes on from the earlier one's model."""
    chosen = scenario({"model": earlier}, cohort={"seed": 5})
    return run(chosen, tmp_path_factory.mktemp("later"))


def test_it_begins_with_that_model_on_its_basis(earlier, later):
    before, after = (ConsensusBasis.load(folder / "basis.npz") for folder in (earlier, later))
    assert before.hash == after.hash
    assert not same(weights(earlier), weights(later))
    own, other = (np.load(f / "connectivity_sum.npz")["z_sum"] for f in (earlier, later))
    assert not np.array_equal(own, other)  # the yardstick asks for the new sites' connectivity
    _, told = read_model(later / "final")
    assert told.basis_hash == before.hash


def test_the_model_is_a_zero_of_the_scale_beside_random_weights(later):
    rows = summary(later)["baselines"]
    assert {RANDOM, START} <= {row["model"] for row in rows}
    assert "the model that the study started from" in " ".join(verdict(read_history(later)))


def test_its_first_round_starts_from_its_weights(earlier, tmp_path):
    """With a learning rate of nothing, the model stays what it was."""
    still = {"schedule": {"total_steps": 3, "lr": 1e-30, "final_lr": 0.0, "start_lr": 0.0}}
    chosen = scenario({"model": earlier / "final"}, training=still)
    run(chosen, tmp_path)
    found, expected = weights(tmp_path), weights(earlier)
    trained = [name for name in found if not name.startswith("target_encoder.")]
    assert all(np.array_equal(found[name], expected[name]) for name in trained)


@pytest.mark.slow
def test_a_killed_study_goes_on_without_the_model(earlier, tmp_path):
    moved = tmp_path / "model"
    shutil.copytree(earlier / "final", moved)
    chosen = scenario({"model": moved}, cohort={"seed": 5})
    whole = run(chosen, tmp_path / "whole")
    for newest in sorted((whole / "rounds").iterdir())[-1:]:
        shutil.rmtree(newest)
    shutil.rmtree(moved)
    expected = weights(whole)
    shutil.rmtree(whole / "final")
    run(chosen, whole)
    assert same(weights(whole), expected)


@pytest.mark.slow
def test_a_published_checkpoint(tmp_path):
    sizes = {
        "width": 64, "depth": 1, "heads": 1, "patch": 4,
        "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 1,
    }  # fmt: skip
    published = run(scenario(model=sizes), tmp_path / "first")
    model, _ = read_model(published / "final")
    gradients = tmp_path / "gradients.csv"
    np.savetxt(gradients, model.basis.numpy(), delimiter=",")
    write_official(model, tmp_path / "model.pth.tar")
    start = {"model": tmp_path / "model.pth.tar", "gradients": gradients}
    still = {"schedule": {"total_steps": 3, "lr": 1e-30, "final_lr": 0.0, "start_lr": 0.0}}
    run(scenario(start, model=sizes, training=still), tmp_path / "second")
    found, expected = weights(tmp_path / "second"), weights(published)
    trained = [name for name in found if not name.startswith("target_encoder.")]
    assert all(np.array_equal(found[name], expected[name]) for name in trained)
    for given, text in (
        ({"model": start["model"]}, "expected the gradients that 'model.pth.tar' was trained with"),
        ({"model": published, "gradients": gradients}, "expected no gradients with the folder"),
        ({**start, "gradients": tmp_path / "none.csv"}, "expected gradients as a CSV of numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            read_start(StartSettings(**given), chosen_study(), ("a", "b"))


def chosen_study(**changes) -> PretrainingSettings:
    return scenario().study.pretraining.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": {}}, "found patch 4 instead of 16; give the study's pretraining section"),
        ({"windows": WindowSettings(frames=16, tr=1.0)}, "windows, found one of tr 2.0; set pre"),
    ],
)
def test_a_model_of_something_else_is_refused(earlier, changes, text):
    _, told = read_model(earlier / "final")
    study = chosen_study(**changes)
    with pytest.raises(ValueError, match=f"^start_from: expected a model .*{text}"):
        read_start(StartSettings(model=earlier), study, told.rois)


def test_another_atlas_or_a_basis_that_was_changed_is_refused(earlier, tmp_path):
    _, told = read_model(earlier / "final")
    study = chosen_study()
    with pytest.raises(ValueError, match=r"^start_from: expected the 3 ROIs of the data, found a"):
        read_start(StartSettings(model=earlier), study, ("a", "b", "c"))
    shutil.copytree(earlier / "final", tmp_path / "copy")
    path = tmp_path / "copy" / "model.json"
    content = json.loads(path.read_text())
    content["provenance"]["basis_hash"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected the basis 000000000000 that the model was"):
        read_start(StartSettings(model=tmp_path / "copy"), study, told.rois)
