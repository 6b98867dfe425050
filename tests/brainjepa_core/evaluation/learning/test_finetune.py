"""Fine-tuning on a synthetic cohort: what is learned, of whom; the model stays as it is."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_tasks import task_of

from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import FinetuneMethod, from_scratch
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.methods.readout_methods import latent_methods
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY, embed_people
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
SHORT = FinetuneSettings(steps=6, batch_size=4, evaluate_every=3, lr=1e-3, train="all")
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


def sited(data: TaskData, windows: Windows) -> TaskData:
    sites = np.array([f"site {person.store}" for person in windows.people])
    return replace(data, sites=sites)


LOG = "latent_log_connectivity"


def probe(model, windows, data, split, readout=LATENT_CONNECTIVITY) -> np.ndarray:
    pairs = embed_people(model, windows, range(60), (LATENT_CONNECTIVITY,))[LATENT_CONNECTIVITY]
    methods = latent_methods("x", pairs.astype(np.float32), SignalReadOuts(windows))
    kind = "latent log-" if readout == LOG else "latent "
    row = "x: probe" if readout is None else f"x: {kind}connectivity, site-centred"
    return next(method for method in methods if method.name == row).predict(data, split)


@pytest.mark.parametrize(
    ("kind", "train", "readout", "whole_site"),
    [
        ("values", "head", LATENT_CONNECTIVITY, True),
        ("values", "head", LOG, False),
        ("classes", "head", LATENT_CONNECTIVITY, False),
        ("classes", "head", LOG, True),
        ("values", "adapters", LOG, True),
        ("classes", "all", LATENT_CONNECTIVITY, True),
        ("values", "head", None, True),
    ],
)
def test_before_anything_moves_it_is_the_probe(windows, model, kind, train, readout, whole_site):
    """Of hospitals that are tested as a whole and of others; two ROIs are missing somewhere."""
    y = trait(windows) + 0.5 * np.arange(60) // 20  # levels differ between sites
    data = sited(task_of(y), windows)
    if kind == "classes":
        data = sited(task_of(trait(windows) > 0, classes=("low", "high")), windows)
    order = np.arange(60) if whole_site else np.random.default_rng(0).permutation(60)
    split = Split("x", 0, np.sort(order[:32]), np.sort(order[32:40]), np.sort(order[40:]))
    still = {"train": train, "lr": 1e-12, "head_lr": 1e-12, "steps": 2}
    still |= {} if readout is None else {"readouts": (readout,)}  # else what the probe hears
    still = SHORT.model_copy(update=still)
    found = FinetuneMethod("x", model, windows, still).predict(data, split)
    expected = probe(model, windows, data, split, readout)
    if kind == "values":
        assert_allclose(found, expected, atol=2e-4)
    else:
        assert np.array_equal(np.argsort(found[:, 1]), np.argsort(expected[:, 1] - expected[:, 0]))
        assert_allclose(found.sum(1), 1)


def test_a_network_that_gains_nothing_stays_the_probe(windows, model):
    """Steps that throw the head about are found out by the validation part."""
    data = sited(task_of(trait(windows)), windows)
    split = Split("x", 0, np.arange(0, 32), np.arange(32, 40), np.arange(40, 60))
    wild = {"train": "head", "head_lr": 50.0, "readouts": (LOG,)}
    wild = SHORT.model_copy(update=wild)
    method = FinetuneMethod("x", model, windows, wild)
    assert method.fit(data, split).steps == 0
    expected = probe(model, windows, data, split, LOG)
    assert_allclose(method.predict(data, split), expected, atol=2e-4)


def test_steps_are_found_on_the_validation_part_and_taken_again_with_it(windows, model):
    y = trait(windows)
    data = sited(task_of(y), windows)
    method = FinetuneMethod("x", model, windows, SHORT.model_copy(update={"train": "head"}))
    steps, states = method.fit(data, SPLIT).steps, []
    for shift in (0, 5):  # people of the validation part are learned from in the end
        other = y.copy()
        other[SPLIT.validation[0]] += shift
        fitted = method.fit(sited(task_of(other), windows), SPLIT)
        states.append(fitted.network.head.linear.weight.detach())
    assert steps in (0, 3, 6) and not torch.equal(*states)


@pytest.mark.parametrize("train", ["all", "head", "adapters"])
def test_every_way_predicts_probabilities_and_leaves_the_model_alone(windows, model, train):
    before = model_arrays(model)
    data = sited(task_of(trait(windows) > 0, classes=("low", "high")), windows)
    settings = SHORT.model_copy(update={"train": train})
    whole = replace(SPLIT, validation=SPLIT.validation[:0])  # all steps are taken
    found = FinetuneMethod(train, model, windows, settings).fit(data, whole)
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
    elif train == "adapters":
        assert moved and all(".attn." in name or "norm" in name for name in moved)
        assert any(".attn.proj.weight" in name for name in moved)
    else:
        assert {"patch.weight", "blocks.0.attn.proj.weight"} <= moved
    scores = found.predict(windows, data.people[SPLIT.test], np.full(12, 2))
    assert scores.shape == (12, 2) and np.allclose(scores.sum(1), 1)


def test_deterministic_in_the_seed(windows, model):
    data, found = task_of(trait(windows)), []
    whole = replace(SPLIT, validation=SPLIT.validation[:0])  # all steps are taken
    for seed in (0, 0, 1):
        torch.rand(5)
        settings = SHORT.model_copy(update={"seed": seed, "readouts": (LOG,)})
        found.append(FinetuneMethod("x", model, windows, settings).predict(data, whole))
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
    assert found[0].shape == (12,)


class Spy:
    """Windows that remember who was asked for."""

    def __init__(self, windows: Windows) -> None:
        self._windows, self.scaled, self.whole = windows, [], []

    def __getattr__(self, name):
        return getattr(self._windows, name)

    def scaled_on(self, people):
        self.scaled.append(people)
        return self

    def whole_scans(self, subject):
        self.whole.append(subject)
        return self._windows.whole_scans(subject)


def test_only_training_people_are_learned_from(windows, model):
    """Also where the rows of a task are other numbers than those of the windows."""
    people = np.random.default_rng(0).permutation(60)
    data, spy = task_of(trait(windows)[people], people=people), Spy(windows)
    method = FinetuneMethod("x", model, spy, SHORT)
    assert len(method._pairs) == len(method._signals.pairs) == 60  # everybody is read
    spy.whole.clear()
    method.fit(data, SPLIT)
    learned = np.union1d(SPLIT.train, SPLIT.validation)
    assert set(spy.whole) == set(people[learned])
    assert spy.scaled == [people[learned].tolist()]


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


@pytest.mark.gpu
@pytest.mark.parametrize("train", ["all", "head", "adapters"])
def test_on_a_gpu_it_predicts_as_on_a_processor(model, windows, train):
    data, found = sited(task_of(trait(windows)), windows), []
    settings = SHORT.model_copy(update={"train": train, "precision": "fp32"})
    for device in ("cpu", "cuda"):
        method = FinetuneMethod("x", deepcopy(model).to(device), windows, settings, device)
        found.append(method.predict(data, SPLIT))
    assert_allclose(found[1], found[0], rtol=0, atol=1e-3)
