"""The yardstick from sums: the sites' moments make the pooled R2; foreign ones are checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.measure import HEADLINE, outcomes_of, pooled_features
from brainjepa_core.evaluation.moments import (
    FIELDS,
    Group,
    moments_from_arrays,
    moments_to_arrays,
    site_moments,
)
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.signals.store import ScanStore
from brainjepa_core.signals.windows import Windows, WindowSettings
from brainjepa_core.sums.ridge import Moments, choose_alpha, fit_ridge, total
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
        site_moments(model, Windows([store], SETTINGS), COMPONENTS, where, 4)
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
        for name in FIELDS[1:]:
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
    found = site_moments(model, windows, COMPONENTS, folds, 4, fewest=3)
    numbers = [found[Group("mean", "latents", k)].n for k in range(4)]
    assert numbers == [5, 0, 0, 0]
    nobody = found[Group("mean", "latents", 1)]
    assert nobody.xx.shape == (8, 8) and not nobody.xx.any() and not nobody.y_sum.any()
    added = found[Group("mean", "latents", 0)] + nobody
    assert np.array_equal(added.xx, found[Group("mean", "latents", 0)].xx) and added.n == 5


def test_an_outcome_that_is_no_number_is_left_out(stores, model, monkeypatch):
    values = {"connectivity": np.ones((9, 2)), "age within site": np.full((9, 1), np.nan)}
    monkeypatch.setattr("brainjepa_core.evaluation.moments.outcome_groups", lambda *_: values)
    found = site_moments(model, Windows(stores[:1], SETTINGS), COMPONENTS, [0] * 9, 1)
    assert {group.outcome for group in found} == {"connectivity"}


def example() -> dict[Group, Moments]:
    rng = np.random.default_rng(0)
    people = {Group(HEADLINE, "age within site", 3): 6, Group("mean", "latents", 12): 0}
    return {
        group: Moments.of(rng.standard_normal((n, 4)), rng.standard_normal((n, 2)))
        for group, n in people.items()
    }


def test_arrays_and_back():
    arrays = moments_to_arrays(example())
    assert all(array.dtype == np.float64 for array in arrays.values())
    assert arrays["moments.network_covariance.age within site.3.n"] == 6
    back = moments_from_arrays(arrays)
    assert back.keys() == example().keys()
    for group, m in example().items():
        assert all(np.array_equal(getattr(back[group], f), getattr(m, f)) for f in FIELDS)
        assert isinstance(back[group].n, int)
    assert moments_from_arrays({}) == {}


KEY = "moments.mean.latents.12."
WRONG = {
    "a name": ({"weights.mean": np.zeros(1)}, "found 'weights.mean'; check the versions"),
    "a fold": ({"moments.mean.latents.x.n": np.zeros(())}, r"found 'moments\.mean\.latents\.x\.n'"),
    "a field": ({f"{KEY}zz": np.zeros(())}, "expected the fields n, x_sum, y_sum, xx, xy, yy"),
    "a shape": ({f"{KEY}xx": np.zeros((4, 3))}, "another shape or dtype in xx"),
    "a dtype": ({f"{KEY}yy": np.zeros(2, np.float32)}, "another shape or dtype in yy"),
    "NaN": ({f"{KEY}xy": np.full((4, 2), np.nan)}, "expected finite moments, found NaN"),
    "half a person": ({f"{KEY}n": np.array(0.5)}, "found n = 0.5 or a negative square"),
    "fewer than nobody": ({f"{KEY}n": np.array(-1.0)}, "found n = -1 or a negative square"),
    "a negative square": ({f"{KEY}yy": np.array([1.0, -1.0])}, "or a negative square"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays(name):
    change, text = WRONG[name]
    with pytest.raises(ValueError, match=text):
        moments_from_arrays({**moments_to_arrays(example()), **change})


def test_a_missing_field():
    arrays = moments_to_arrays(example())
    del arrays[f"{KEY}xy"]
    with pytest.raises(ValueError, match="found n, x_sum, xx, y_sum, yy; check the versions"):
        moments_from_arrays(arrays)


@given(st.text(max_size=40), st.sampled_from(["", ".", "..", "moments.a.b.1."]))
def test_any_name_is_read_or_refused(text, prefix):
    try:
        moments_from_arrays({prefix + text: np.zeros(())})
    except ValueError as error:
        assert str(error).startswith("expected")
    else:
        pytest.fail("one array is never a whole set of moments")
