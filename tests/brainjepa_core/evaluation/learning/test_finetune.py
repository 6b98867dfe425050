"""Fine-tuning on a synthetic cohort: what is learned, of whom; the model stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_tasks import task_of

from brainjepa_core.evaluation.learning.finetune import FinetuneMethod, from_scratch
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.checkpoint import model_arrays
from brainjepa_core.models.parts.lora import LoraLinear
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

COHORT = CohortSettings(
    sites=3, subjects_per_site=20, rois=12, networks=4, latents=3, frames=64, trait_effect=0.6,
    signal_share=0.5, missing_rois=2,
)  # fmt: skip
SHORT = FinetuneSettings(steps=6, batch_size=4, evaluate_every=3, lr=1e-3)
SPLIT = Split("seed 0", 0, np.arange(0, 40), np.arange(40, 48), np.arange(48, 60))


@pytest.fixture(scope="module")
def windows(tmp_path_factory) -> Windows:
    paths = write_cohort(COHORT, tmp_path_factory.mktemp("cohort"))
    return Windows([ScanStore.open(path) for path in paths], WindowSettings(frames=32))


def make_model(**choices) -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=16, depth=2, heads=2, predictor_width=8, predictor_heads=2)
    sizes |= dict(rois=12, frames=32, patch=8, components=2) | choices
    settings = BrainJepaSettings.preset("tiny", **sizes)
    return BrainJEPA(settings, torch.randn(settings.rois, 2))


@pytest.fixture(scope="module")
def model() -> BrainJEPA:
    return make_model()


def trait(windows: Windows, name: str = "latent_1") -> np.ndarray:
    return np.array([person.records[0].phenotypes[name] for person in windows.people])


def test_a_trait_in_the_connectivity_is_learned_better_than_by_chance(windows, model):
    data = task_of(trait(windows) > 0, classes=("low", "high"))
    order = np.random.default_rng(0).permutation(60)
    split = Split("seed 0", 0, order[:36], order[36:42], order[42:])
    settings = FinetuneSettings(
        steps=60, batch_size=12, evaluate_every=20, pool="second_order", train="head", lr=3e-3
    )
    found = FinetuneMethod("fine-tuned", model, windows, settings).predict(data, split)
    positive, scores = data.target[split.test] == 1, found[:, 1]
    auc = (scores[positive][:, None] > scores[~positive]).mean()
    assert auc > 0.7


@pytest.mark.parametrize("train", ["all", "head", "norms", "lora"])
def test_every_way_predicts_probabilities_and_leaves_the_model_alone(windows, model, train):
    before = model_arrays(model)
    data = task_of(trait(windows) > 0, classes=("low", "high"))
    settings = SHORT.model_copy(update={"train": train})
    found = FinetuneMethod(train, model, windows, settings).fit(data, SPLIT)
    after = model_arrays(model)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    moved = {
        name
        for name, value in found.network.encoder.state_dict().items()
        if not torch.equal(value, model.target_encoder.state_dict()[name])
    }
    assert not any(isinstance(part, LoraLinear) for part in found.network.modules())
    if train == "head":
        assert moved == set()
    elif train == "norms":
        assert moved and all("norm" in name for name in moved)
    elif train == "lora":
        assert moved == {
            f"blocks.{i}.attn.{layer}.weight" for i in (0, 1) for layer in ("qkv", "proj")
        }
    else:
        assert len(moved) == len(model.target_encoder.state_dict())
    scores = found.predict(windows, data.people[SPLIT.test])
    assert scores.shape == (12, 2) and np.allclose(scores.sum(1), 1)


def test_frozen_blocks_stay(windows, model):
    data = task_of(trait(windows))
    settings = SHORT.model_copy(update={"freeze_blocks": 1})
    found = FinetuneMethod("frozen", model, windows, settings).fit(data, SPLIT)
    for name, value in model.target_encoder.state_dict().items():
        frozen = name.startswith(("patch", "positions", "blocks.0"))
        assert torch.equal(value, found.network.encoder.state_dict()[name]) == frozen


def test_deterministic_in_the_seed(windows, model):
    data, found = task_of(trait(windows)), []
    for seed in (0, 0, 1):
        torch.rand(5)
        settings = SHORT.model_copy(update={"seed": seed})
        found.append(FinetuneMethod("x", model, windows, settings).predict(data, SPLIT))
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
    assert found[0].shape == (12,)


class Spy:
    """Windows that remember who was asked for, and when prediction began."""

    def __init__(self, windows: Windows) -> None:
        self._windows, self.drawn, self.scaled, self.whole = windows, set(), [], []

    def __getattr__(self, name):
        return getattr(self._windows, name)

    def scaled_on(self, people):
        self.scaled.append(sorted(people))
        return self

    def batch(self, subjects, seeds):
        self.drawn |= set(subjects)
        return self._windows.batch(subjects, seeds)

    def full_windows(self, subject):
        self.whole.append(subject)
        return self._windows.full_windows(subject)


def test_only_training_people_are_learned_from(windows, model):
    """Also where the rows of a task are other numbers than those of the windows."""
    people = np.random.default_rng(0).permutation(60)
    data, spy = task_of(trait(windows)[people], people=people), Spy(windows)
    FinetuneMethod("x", model, spy, SHORT).fit(data, SPLIT)
    assert spy.drawn == set(people[SPLIT.train])
    assert set(spy.whole) == set(people[SPLIT.validation])
    assert spy.scaled == [sorted(people[SPLIT.train])]


def test_labels_of_tested_people_change_nothing(windows, model):
    y, found = trait(windows), []
    for shift in (0, 100):
        other = y.copy()
        other[SPLIT.test] += shift
        found.append(FinetuneMethod("x", model, windows, SHORT).predict(task_of(other), SPLIT))
    assert np.array_equal(*found)


def test_what_covariates_tell_is_added(windows, model):
    y = trait(windows)
    data = task_of(y + 50 * y, covariates=y[:, None] + 0.01 * np.sin(np.arange(60))[:, None])
    found = FinetuneMethod("x", model, windows, SHORT).predict(data, SPLIT)
    assert np.corrcoef(found, data.target[SPLIT.test])[0, 1] > 0.99


def test_from_scratch_is_the_same_model_with_other_weights(model):
    fresh, again = from_scratch(model, seed=3), from_scratch(model, seed=3)
    assert fresh.settings == model.settings and torch.equal(fresh.basis, model.basis)
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.parameters(), again.parameters(), strict=True)
    )
    patch = fresh.target_encoder.patch.weight
    assert not torch.equal(patch, model.target_encoder.patch.weight)


def test_windows_of_another_model_are_refused(windows):
    message = "expected windows of 12 ROIs and 16 frames, found 12 ROIs and 32 frames"
    with pytest.raises(ValueError, match=message):
        FinetuneMethod("x", make_model(frames=16), windows).fit(task_of(trait(windows)), SPLIT)
