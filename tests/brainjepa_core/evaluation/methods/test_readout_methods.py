"""Read-outs as methods: what is learned from whom, centring by hospital, and each row by hand."""

from __future__ import annotations

import numpy as np
import pytest
from feature_tasks import make_task
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods import readout_methods
from brainjepa_core.evaluation.methods.readout_methods import (
    ReadOut,
    ReadOutMethod,
    latent_methods,
    signal_methods,
)
from brainjepa_core.evaluation.readout.centring import centred_on, centres_of
from brainjepa_core.evaluation.readout.connectivity import matrix_of, mean_connectivity
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

PEOPLE = 36
SITES = np.repeat(["a", "b", "c"], 12)
NOBODY = np.zeros(0, np.int64)


def left_out(site: str = "c") -> Split:
    return Split(site, 0, np.flatnonzero(site != SITES), NOBODY, np.flatnonzero(site == SITES))


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    level = {"a": 0, "b": 5, "c": -4}
    return rng.standard_normal((PEOPLE, 50)) + np.array([[level[s]] for s in SITES])


@pytest.fixture
def values(features):
    within = features - np.array([features[s == SITES].mean(0) for s in SITES])
    level = {"a": 10.0, "b": 40.0, "c": 25.0}
    return within[:, :20].sum(1) + np.array([level[s] for s in SITES])


def fixed_penalty(monkeypatch, penalty: float) -> None:
    plain = readout_methods.ridge_predictions
    monkeypatch.setattr(
        readout_methods, "ridge_predictions", lambda *a: plain(*a, np.array([penalty]))
    )


def test_site_centred_rows_by_hand(features, values, monkeypatch):
    fixed_penalty(monkeypatch, 0.1)
    split, data = left_out(), make_task(values, sites=SITES)
    found = ReadOutMethod("m", (ReadOut(features),), centred=True).predict(data, split)
    x, y = features.copy(), values.copy()
    for site in "abc":  # c by its own people, whose values nobody knows
        x[site == SITES] -= x[site == SITES].mean(0)
        y[site == SITES] -= y[site == SITES].mean()
    scale = (x[split.train] ** 2).sum(1).mean()
    ridge = Ridge(0.1 * scale, fit_intercept=False).fit(x[split.train], y[split.train])
    assert_allclose(found, ridge.predict(x[split.test]) + values[split.train].mean(), rtol=1e-9)
    assert np.corrcoef(found, values[split.test])[0, 1] > 0.5


def test_rows_as_they_are_by_hand(features, values, monkeypatch):
    fixed_penalty(monkeypatch, 0.1)
    split, data = left_out(), make_task(values, sites=SITES)
    found = ReadOutMethod("m", (ReadOut(features),)).predict(data, split)
    x = features - features[split.train].mean(0)
    scale = (x[split.train] ** 2).sum(1).mean()
    ridge = Ridge(0.1 * scale).fit(x[split.train], values[split.train])
    assert_allclose(found, ridge.predict(x[split.test]), rtol=1e-9)


def test_classes_are_scored_by_how_much_likelier_a_person_is(features, values, monkeypatch):
    fixed_penalty(monkeypatch, 0.1)
    split = left_out()
    within = values - np.array([values[s == SITES].mean() for s in SITES])
    data = make_task(1.0 * (within > 1), ["no", "yes"], SITES)
    found = ReadOutMethod("m", (ReadOut(features),), centred=True).predict(data, split)
    assert found.shape == (12, 2)
    assert_allclose(found.sum(1), 0, atol=1e-9)
    three = make_task(np.digitize(within, [-2.0, 2.0]).astype(float), ["l", "m", "h"], SITES)
    found = ReadOutMethod("m", (ReadOut(features),), centred=True).predict(three, split)
    assert found.shape == (12, 3)
    for k in range(3):  # each column as if its class were a value of 1 among 0s
        one = make_task(1.0 * (three.target == k), sites=SITES)
        alone = ReadOutMethod("m", (ReadOut(features),), centred=True).predict(one, split)
        assert_allclose(found[:, k] + (three.target[split.train] == k).mean(), alone, atol=1e-9)
    with pytest.raises(ValueError, match="class"):
        one = make_task(np.where(SITES == "c", 1.0, 0.0), ["no", "yes"], SITES)
        ReadOutMethod("m", (ReadOut(features),)).predict(one, split)


@pytest.mark.parametrize("centred", [False, True])
def test_nothing_of_tested_people_is_learned(features, values, centred):
    """Neither their labels, nor (but for a centre of their own) their features."""
    split, data = left_out(), make_task(values, sites=SITES)
    method = ReadOutMethod("m", (ReadOut(features),), centred)
    found = method.predict(data, split)
    other = values.copy()
    other[split.test] = 1e6
    assert np.array_equal(method.predict(make_task(other, sites=SITES), split), found)
    moved = features.copy()
    moved[split.test[0]] += 50
    after = ReadOutMethod("m", (ReadOut(moved),), centred).predict(data, split)
    assert np.allclose(after[1:], found[1:]) != centred  # a hospital's mean moves with its people
    everybody = features.copy()
    everybody[split.test] += 50  # another scanner
    after = ReadOutMethod("m", (ReadOut(everybody),), centred).predict(data, split)
    assert np.allclose(after, found) == centred


def test_a_hospital_with_training_people_is_centred_on_those(features, values):
    split = Split("mixed", 0, np.arange(0, PEOPLE, 2), NOBODY, np.arange(1, PEOPLE, 2))
    data = make_task(values, sites=SITES)
    found = ReadOutMethod("m", (ReadOut(features),), centred=True).predict(data, split)
    moved = features.copy()
    moved[split.test[0]] += 50
    after = ReadOutMethod("m", (ReadOut(moved),), centred=True).predict(data, split)
    assert_allclose(after[1:], found[1:])
    assert np.corrcoef(found, values[split.test])[0, 1] > 0.8  # with the level of the hospital


def test_of_a_hospital_of_few_nobody_is_their_own_mean(features, values):
    sites = SITES.copy()
    sites[-1] = "d"
    split, data = left_out(), make_task(values, sites=sites)
    moved = features.copy()
    moved[-1] += 50
    found = [
        ReadOutMethod("m", (ReadOut(x),), centred=True).predict(data, split)
        for x in (features, moved)
    ]
    assert found[0][-1] != pytest.approx(found[1][-1])


def test_covariates_are_taken_out_of_features_and_target(features, values, monkeypatch):
    fixed_penalty(monkeypatch, 0.1)
    split = left_out()
    age = np.random.default_rng(3).standard_normal((PEOPLE, 1))
    data = make_task(values + 9 * age[:, 0], sites=SITES, covariates=age)
    found = ReadOutMethod("m", (ReadOut(features + 3 * age),)).predict(data, split)
    train = split.train
    with_one = np.hstack([np.ones((PEOPLE, 1)), age])
    fit = np.linalg.lstsq(with_one[train], (features + 3 * age)[train], rcond=None)[0]
    x = features + 3 * age - with_one @ fit
    told = with_one @ np.linalg.lstsq(with_one[train], data.target[train], rcond=None)[0]
    scale = (x[train] ** 2).sum(1).mean()
    ridge = Ridge(0.1 * scale, fit_intercept=False).fit(x[train], (data.target - told)[train])
    assert_allclose(found, ridge.predict(x[split.test]) + told[split.test], rtol=1e-8)


def test_rows_share_kernels_of_a_split_and_of_no_other(features, values):
    asked = []

    def given(data, training):
        asked.append(len(training))
        return features

    shared, data = ReadOut(given), make_task(values, sites=SITES)
    rows = [ReadOutMethod("m", (shared,), centred) for centred in (False, True)]
    rows.append(ReadOutMethod("both", (shared, ReadOut(features)), centred=True))
    for site in "cbc":
        for row in rows:
            alone = [ReadOut(features)] * len(row.readouts)
            expected = ReadOutMethod("m", alone, row.centred).predict(data, left_out(site))
            assert_allclose(row.predict(data, left_out(site)), expected, rtol=1e-9)
    assert len(asked) == 3 * 2
    other = make_task(-values, sites=SITES)  # another target, the same kernel
    assert_allclose(rows[1].predict(other, left_out()), -rows[1].predict(data, left_out()))
    assert len(asked) == 3 * 2
    shuffled = make_task(values, sites=SITES[::-1].copy())
    rows[1].predict(shuffled, left_out())
    assert len(asked) == 3 * 2 + 1


def test_missing_features_count_as_the_mean(features, values):
    gaps = features.copy()
    gaps[3, 7] = gaps[-1] = np.nan
    gaps[SITES == "b", 9] = np.nan
    centres = centres_of(SITES, left_out().train, left_out().test)
    found = centred_on(gaps, centres)
    assert found[3, 7] == 0 and not found[-1].any() and not found[SITES == "b", 9].any()
    rows = (SITES == "a") & (np.arange(PEOPLE) != 3)
    assert_allclose(found[rows, 7], gaps[rows, 7] - gaps[rows, 7].mean())
    data = make_task(values, sites=SITES)
    predicted = ReadOutMethod("m", (ReadOut(gaps),), centred=True).predict(data, left_out())
    assert predicted[-1] == pytest.approx(values[left_out().train].mean())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    settings = CohortSettings(sites=3, subjects_per_site=7, rois=16, second_sessions=0)
    stores = write_cohort(settings, tmp_path_factory.mktemp("cohort"))
    return Windows([ScanStore.open(path) for path in stores], WindowSettings(frames=32))


def test_the_consensus_is_that_of_training_people(cohort):
    signals = SignalReadOuts(cohort)
    sites = np.array([str(p.store) for p in cohort.people])
    data = make_task(np.arange(cohort.subjects), sites=sites)
    training = np.flatnonzero(sites != sites[-1])
    found = signals.log_connectivity()(data, training)
    seen = LogConnectivity.of(mean_connectivity(signals.pairs[training]))
    assert_allclose(found, seen.features(matrix_of(signals.pairs)), atol=1e-5)
    assert found.shape == (cohort.subjects, 2 * 3 // 2 + 3 * 4 // 2 + 6 * 7 // 2)  # 0.4 of 16 ROIs
    changed = SignalReadOuts(cohort)
    changed.pairs[np.setdiff1d(np.arange(cohort.subjects), training)] *= -0.5
    assert_allclose(changed.log_connectivity()(data, training)[training], found[training])
    other = signals.log_connectivity()(data, np.arange(cohort.subjects))
    assert not np.allclose(other, found)


def test_signals_and_a_network_that_keeps_them_have_the_same_rows(cohort):
    signals = SignalReadOuts(cohort)
    sites = np.array([str(p.store) for p in cohort.people])
    ages = np.array([p.records[0].phenotypes["age"] for p in cohort.people], float)
    data = make_task(ages, sites=sites)
    test = np.flatnonzero(sites == sites[-1])
    split = Split("last", 0, np.setdiff1d(np.arange(len(data)), test), NOBODY, test)
    mine = {m.name: m.predict(data, split) for m in signal_methods(signals)}
    theirs = {m.name: m.predict(data, split) for m in latent_methods("x", signals.pairs, signals)}
    assert len(mine) == 8 and all(np.isfinite(row).all() for row in mine.values())
    for kind in ("connectivity", "log-connectivity"):
        for centred in ("", ", site-centred"):
            assert np.array_equal(theirs[f"x: latent {kind}{centred}"], mine[kind + centred])
    assert {"x: probe", "x: probe and FC"} < set(theirs) and len(theirs) == 6


def test_a_probe_hears_both_of_classes_and_log_connectivity_of_a_value(cohort):
    signals = SignalReadOuts(cohort)
    sites = np.array([str(p.store) for p in cohort.people])
    ages = np.array([p.records[0].phenotypes["age"] for p in cohort.people], float)
    test = np.flatnonzero(sites == sites[-1])
    split = Split("last", 0, np.setdiff1d(np.arange(len(sites)), test), NOBODY, test)
    pairs, slow = ReadOut(signals.pairs), ReadOut(signals.slow_pairs)
    log = ReadOut(signals.log_connectivity())
    old = (ages > np.median(ages)).astype(float)
    expected = {
        "value": (make_task(ages, sites=sites), (log,)),
        "class": (make_task(old, ("young", "old"), sites=sites), (pairs, log)),
    }
    probe, joined = latent_methods("x", signals.pairs, signals)[:2]
    for data, alone in expected.values():
        for row, readouts in ((probe, alone), (joined, (log, slow))):
            told = ReadOutMethod("y", readouts, centred=True).predict(data, split)
            assert np.array_equal(row.predict(data, split), told)
