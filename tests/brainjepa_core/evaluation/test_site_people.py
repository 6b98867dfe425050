"""The yardstick from sums: the sites' moments make the pooled R2."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.measure import outcomes_of, pooled_features
from brainjepa_core.evaluation.other_half import Halves, People, other_half_r2
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.evaluation.site_people import SitePeople, other_half_of, projected
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import Group, Moments
from brainjepa_core.sums.protocol import total
from brainjepa_core.sums.ridge import choose_alpha, fit_ridge, held_out_r2
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

SETTINGS = WindowSettings(frames=16)
SIZES = (9, 8, 10)
COHORT = CohortSettings(
    sites=3, subjects_per_site=SIZES, rois=8, networks=4, latents=3, frames=40
)  # fmt: skip
MEAN_FC = np.corrcoef(np.random.default_rng(0).standard_normal((8, 30)))
COMPONENTS = connectivity_components(MEAN_FC, 8)


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[ScanStore]:
    return [ScanStore.open(p) for p in write_cohort(COHORT, tmp_path_factory.mktemp("cohort"))]


@pytest.fixture(scope="module")
def model() -> BrainJEPA:
    torch.manual_seed(0)
    sizes = dict(width=8, depth=1, heads=2, predictor_width=8, predictor_heads=2)
    s = BrainJepaSettings.preset("tiny", rois=8, frames=16, patch=8, components=2, **sizes)
    return BrainJEPA(s, torch.randn(8, 2))


def test_sites_add_up_to_the_pooled_people(stores, model):
    pooled = Windows(stores, SETTINGS)
    folds = np.random.default_rng(0).integers(4, size=sum(SIZES))
    parts = [
        SitePeople.of(model, Windows([store], SETTINGS), COMPONENTS, where, 4).moments()
        for store, where in zip(stores, np.split(folds, np.cumsum(SIZES)[:-1]), strict=True)
    ]
    features = pooled_features(model, pooled, range(pooled.subjects))
    outcomes = outcomes_of(pooled, MEAN_FC).groups
    assert list(features) == ["mean", "std", "time_std", "network_covariance"]
    groups = {Group(p, o, k) for p in features for o in outcomes for k in range(4)}
    assert all(part.keys() == groups for part in parts)
    for group in groups:
        summed = total(part[group] for part in parts)
        members = folds == group.fold
        expected = Moments.of(features[group.pool][members], outcomes[group.outcome][members])
        assert summed.n == expected.n
        for name in ("x_sum", "y_sum", "xx", "xy", "yy"):
            assert_allclose(getattr(summed, name), getattr(expected, name), rtol=1e-10, atol=1e-10)

    # and with the sums, the score of the held-out fold
    rest = [total(part[Group("mean", "latents", k)] for part in parts) for k in (1, 2, 3)]
    held_out = total(part[Group("mean", "latents", 0)] for part in parts)
    fitted = fit_ridge(total(rest), choose_alpha(rest))
    x, y = features["mean"], outcomes["latents"]
    residual = ((y - fitted.predict(x))[folds == 0] ** 2).sum(0)
    assert_allclose(fitted.squared_error(held_out), residual, rtol=1e-8)


def test_small_folds_and_empty_ones(stores, model):
    windows = Windows(stores[:1], SETTINGS)
    folds = [0, 0, 0, 0, 0, 1, 1, 3, 3]
    found = SitePeople.of(model, windows, COMPONENTS, folds, 4).moments(fewest=3)
    numbers = [found[Group("mean", "latents", k)].n for k in range(4)]
    assert numbers == [5, 0, 0, 0]
    nobody = found[Group("mean", "latents", 1)]
    assert nobody.xx.shape == (8, 8) and not nobody.xx.any() and not nobody.y_sum.any()
    added = found[Group("mean", "latents", 0)] + nobody
    assert np.array_equal(added.xx, found[Group("mean", "latents", 0)].xx) and added.n == 5


def test_an_outcome_that_is_no_number_is_left_out(stores, model, monkeypatch):
    values = {"connectivity": np.ones((9, 2)), "age within site": np.full((9, 1), np.nan)}
    monkeypatch.setattr("brainjepa_core.evaluation.site_people.outcome_groups", lambda *_: values)
    found = SitePeople.of(model, Windows(stores[:1], SETTINGS), COMPONENTS, [0] * 9, 1).moments()
    assert {group.outcome for group in found} == {"connectivity"}


def made_people(sizes, width=3, outcomes=2, **changes):
    """So many people in each fold, with outcomes that follow from their features a little."""
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.standard_normal((len(folds), width))
    y = x[:, :1] + rng.standard_normal((len(folds), outcomes))
    return SitePeople({"mean": x}, {"latents": y, **changes}, folds, len(sizes))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [((15, 15, 15), True), ((15, 14, 15), False), ((15, 0, 15), True), ((300, 14, 300), False)],
)
def test_moments_may_leave_alone_where_every_fold_has_five_people_a_feature(sizes, told):
    assert made_people(sizes).pools_of_enough(5) == (["mean"] if told else [])
    assert made_people(sizes).pools_of_enough(0) == ["mean"]


def test_scores_are_those_of_probes_of_the_sites_own_people():
    people = made_people((9, 8, 10, 7), **{"age within site": np.ones((34, 1))})
    scores = people.scores()
    expected = held_out_r2(people.features["mean"], people.outcomes["latents"], people.folds)
    assert scores.keys() == {("mean", "latents"), ("mean", "age within site")}
    assert scores["mean", "latents"] == pytest.approx(expected.mean(), abs=1e-12)
    assert np.isnan(scores["mean", "age within site"])
    assert made_people((9, 0, 10)).scores() == {}


def test_mixtures_of_features_are_the_same_everywhere_and_add_up():
    people, first = made_people((9, 8, 10), width=12), slice(0, 13)
    mixed = people.projected(4).features["mean"]
    assert mixed.shape == (27, 4)
    assert_allclose(projected(people.features["mean"][first], 4), mixed[first], rtol=1e-12)
    assert mixed[0, 0] == pytest.approx(0.68622698, abs=1e-8)  # of any site, for good
    assert people.projected(12).features["mean"] is people.features["mean"]


def test_the_other_half_of_a_sites_held_out_people_is_told_by_its_others(stores, model):
    windows, tested = Windows(stores[2:], SETTINGS), np.arange(10) >= 6
    halves = [Halves.of(*windows.aligned(person)[0]) for person in range(10)]
    others, judged = (People(part, ["here"] * len(part)) for part in (halves[:6], halves[6:]))
    expected = other_half_r2(others, judged, LatentReader(model.eval()).of_window, 16).r2
    assert other_half_of(model.eval(), windows, tested, 4) == expected != 0
    assert other_half_of(model, windows, tested, 5) is None  # than which there are fewer
    assert other_half_of(model, windows, np.arange(10) >= 2, 4) is None  # two tell no direction
    assert other_half_of(model, windows, np.zeros(10, bool), 0) is None
    long = Windows(stores[2:], WindowSettings(frames=21))  # half a scan has 20
    assert other_half_of(model, long, tested, 4) is None
