"""The table of a model: outcomes fixed beforehand, one row a pool and outcome, the baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from whole_cohorts import generate_cohort

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.measure import (
    JOINT,
    Outcomes,
    YardstickScore,
    measure_connectivity,
    measure_model,
    networks_of,
    outcomes_of,
)
from brainjepa_core.evaluation.splits import fold_of
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.gradients.networks import gradient_networks
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.ridge import held_out_r2
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

COHORT = CohortSettings(
    sites=3, subjects_per_site=(9, 8, 10), rois=12, networks=4, latents=3, frames=40
)
SETTINGS = WindowSettings(frames=16)


@pytest.fixture(scope="module")
def windows(tmp_path_factory) -> Windows:
    paths = write_cohort(COHORT, tmp_path_factory.mktemp("cohort"))
    return Windows([ScanStore.open(path) for path in paths], SETTINGS)


@pytest.fixture(scope="module")
def mean_fc() -> np.ndarray:
    return np.corrcoef(np.random.default_rng(0).standard_normal((12, 30)))


@pytest.fixture(scope="module")
def outcomes(windows, mean_fc) -> Outcomes:
    return outcomes_of(windows, mean_fc)


def tiny_model(rois: int = 12) -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=8, depth=1, heads=2, predictor_width=8, predictor_heads=2)
    s = BrainJepaSettings.preset("tiny", rois=rois, frames=16, patch=8, components=2, **sizes)
    return BrainJEPA(s, torch.randn(rois, 2))


def store_of(path: Path, rois: list[str], people: int = 9, **facts) -> ScanStore:
    """Random scans of people without phenotypes, but for `facts` of one value a person."""
    store = ScanStore.create(path, Atlas.from_names(rois))
    rng = np.random.default_rng(0)
    for person in range(people):
        mixing = rng.standard_normal((len(rois), len(rois)))
        store.append(
            mixing @ rng.standard_normal((len(rois), 32)),
            subject=f"p{person}",
            tr=2.0,
            phenotypes={name: values[person] for name, values in facts.items()},
        )
    return store


def naive_correlations(series) -> np.ndarray:
    return np.arctanh(np.clip(np.corrcoef(series), -0.9999999, 0.9999999))


def test_latents_and_ages_are_those_of_the_cohort(outcomes):
    cohort = generate_cohort(COHORT)
    assert list(outcomes.groups) == ["connectivity", "age within site", "latents"]
    assert np.array_equal(outcomes.groups["latents"], cohort.latents)
    ages = [np.array([s.age for s in site.subjects]) for site in cohort.sites]
    expected = np.concatenate([a - a.mean() for a in ages])
    assert_allclose(outcomes.groups["age within site"][:, 0], expected, atol=1e-10)
    for site in np.split(outcomes.groups["age within site"], [9, 17]):
        assert abs(site.mean()) < 1e-10


def test_connectivity_scores_by_hand(windows, outcomes, mean_fc):
    values, vectors = np.linalg.eigh(mean_fc)
    components = vectors[:, values.argsort()[::-1]]
    assert any(len(person.records) > 1 for person in windows.people)
    for p in range(windows.subjects):
        z = np.zeros((12, 12))
        scans = windows.aligned(p)
        for series, valid in scans:
            for i in range(12):
                for j in range(12):
                    if i != j and valid[i] and valid[j]:
                        pair = series[[i, j]].astype(np.float64)
                        z[i, j] += naive_correlations(pair)[0, 1] / len(scans)
        fc = np.tanh(z) + np.eye(12)
        expected = [components[:, c] @ fc @ components[:, c] for c in range(12)]
        assert_allclose(outcomes.groups["connectivity"][p], expected, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_are_those_of_a_federation_whoever_else_is_there(windows, mean_fc, seed):
    found = outcomes_of(windows, mean_fc, seed)
    assert found.people.tolist() == list(range(27))
    names = [person.records[0].subject for person in windows.people]
    assert found.folds.tolist() == [fold_of(name, seed, 5) for name in names]
    some = windows.only(range(5, 27))
    assert np.array_equal(outcomes_of(some, mean_fc, seed).folds, found.folds[5:])


def test_rows_of_a_model(windows, outcomes):
    model = tiny_model()
    rows = measure_model("mine", model, windows, outcomes)
    covariances = 4 * 5 // 2
    features = {
        "mean": 8,
        "std": 8,
        "time_std": 8,
        "network_covariance": covariances,
        JOINT: 24 + covariances,
    }
    assert [(r.model, r.pool, r.outcome, r.features) for r in rows] == [
        ("mine", pool, outcome, count)
        for pool, count in features.items()
        for outcome in ("connectivity", "age within site", "latents")
    ]
    pools = list(features)[:-1]
    embedded = embed_people(model, windows, range(27), pools, windows.atlas.network_index)
    embedded[JOINT] = np.concatenate([embedded[pool] for pool in pools], axis=1)
    for row in rows:
        values = outcomes.groups[row.outcome]
        expected = held_out_r2(embedded[row.pool], values, outcomes.folds).mean()
        assert row.r2 == pytest.approx(expected, abs=1e-6)


def test_connectivity_baseline_by_hand(windows, outcomes):
    rows = measure_connectivity(windows, outcomes, windows.atlas.network_index)
    networks, features = windows.atlas.networks, []
    names = list(dict.fromkeys(networks))
    for p in range(windows.subjects):
        z = []
        for series, valid in windows.aligned(p):
            means = [
                np.mean([series[r] for r in range(12) if networks[r] == n and valid[r]], axis=0)
                for n in names
            ]
            z.append([naive_correlations(means)[i, j] for i in range(4) for j in range(i + 1, 4)])
        features.append(np.mean(z, axis=0))
    expected = [
        YardstickScore("connectivity", "networks", name, pytest.approx(r2, abs=1e-4), 6)
        for name in ("age within site", "latents")
        for r2 in [held_out_r2(features, outcomes.groups[name], outcomes.folds).mean()]
    ]
    assert rows == expected


def test_without_networks_or_phenotypes_there_is_less_to_tell(tmp_path):
    rois = [f"roi-{i}" for i in range(6)]
    windows = Windows([store_of(tmp_path / "a", rois)], SETTINGS)
    outcomes = outcomes_of(windows, np.eye(6) + 0.1)
    assert list(outcomes.groups) == ["connectivity"]
    assert outcomes.groups["connectivity"].shape == (9, 6)
    model = tiny_model(6)
    networks = networks_of(windows, model.basis.numpy())
    assert np.array_equal(networks, gradient_networks(model.basis.numpy()))
    assert networks.max() == 1  # two networks: a third of the ROIs
    assert measure_connectivity(windows, outcomes, networks) == []
    rows = measure_model("random", model, windows, outcomes)
    assert [(r.pool, r.features) for r in rows] == [
        ("mean", 8), ("std", 8), ("time_std", 8), ("network_covariance", 3), (JOINT, 27),
    ]  # fmt: skip


@pytest.mark.parametrize("age", ["n/a", None, -9999.0, 999.0, 720.0])
def test_a_phenotype_that_somebody_lacks_is_no_outcome(tmp_path, age):
    rois = [f"Net{i}_{k}" for i in (1, 2) for k in (1, 2)]
    facts = {"age": [age, *range(8)], "latent_1": [0.5] * 9}
    whole = store_of(tmp_path / "a", rois, **facts)
    windows = Windows([whole], SETTINGS)
    assert list(outcomes_of(windows, np.eye(4)).groups) == ["connectivity", "latents"]
    windows = Windows([whole, store_of(tmp_path / "b", rois)], SETTINGS)
    assert list(outcomes_of(windows, np.eye(4)).groups) == ["connectivity"]


def test_a_site_may_lack_a_whole_network(tmp_path):
    rois = [f"Net{i}_{k}" for i in (1, 2, 3) for k in (1, 2)]
    store = store_of(tmp_path / "a", rois, age=list(range(20, 29)))
    lacking = np.random.default_rng(3).standard_normal((6, 32))
    lacking[2:4] = np.nan
    store.append(lacking, subject="p9", tr=2.0, phenotypes={"age": 50})
    windows = Windows([store], SETTINGS)
    outcomes = outcomes_of(windows, np.eye(6) + 0.1)
    (row,) = measure_connectivity(windows, outcomes, windows.atlas.network_index)
    features = []
    for p in range(10):
        ((series, valid),) = windows.aligned(p)
        means = series.reshape(3, 2, -1).mean(1)
        z = naive_correlations(means[[0, 2]])[0, 1]
        whole = valid.all()
        between = naive_correlations(means) if whole else np.zeros((3, 3))
        features.append([between[0, 1], z, between[1, 2]])
    expected = held_out_r2(features, outcomes.groups["age within site"], outcomes.folds)
    assert row.r2 == pytest.approx(float(expected[0]), abs=1e-6) and row.features == 3
