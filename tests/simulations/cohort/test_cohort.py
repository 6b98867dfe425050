"""The synthetic cohort: traits in the connectivity and nowhere else, and the same every time."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from whole_cohorts import TINY, Cohort, generate_cohort

from brainjepa_core.gradients.consensus import ConsensusBasis
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_simulations.cohort.cohort import (
    CohortSettings,
    Scan,
    generate_site,
)
from brainjepa_simulations.cohort.site_effects import band_limited, head_motion, roi_noise
from brainjepa_simulations.cohort.traits import Population

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def demo() -> Cohort:
    """The default cohort at about 200 subjects."""
    return generate_cohort(CohortSettings(subjects_per_site=40))


@pytest.fixture(scope="module")
def tiny() -> Cohort:
    return generate_cohort(TINY)


def first_scans(cohort: Cohort, seconds: float | None = None) -> list[Array]:
    """The first session of every subject [R, F], missing ROIs 0, cut to `seconds`."""
    return [
        np.nan_to_num(scan.series[:, : None if seconds is None else round(seconds / site.tr)])
        for site in cohort.sites
        for scan in site.scans
        if scan.session == "01"
    ]


def edges(series: Array) -> Array:
    """Fisher z of all pairs of rows; constant rows (missing ROIs) give 0."""
    with np.errstate(invalid="ignore"):
        r = np.nan_to_num(np.corrcoef(series.astype(np.float64)))
    return np.arctanh(np.clip(r[np.triu_indices(len(r), k=1)], -0.999, 0.999))


def network_means(series: Array, cohort: Cohort) -> Array:
    network = cohort.settings.population.network
    return np.stack([series[network == k].mean(axis=0) for k in range(network.max() + 1)])


def predictability(features: Array, targets: Array) -> Array:
    """R2 of each column of `targets` from `features`: 5-fold ridge."""
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 6)))
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(ridge, features, targets, cv=folds)
    return r2_score(targets, predicted, multioutput="raw_values")


def test_connectivity_carries_every_trait(demo: Cohort) -> None:
    features = np.stack([edges(network_means(x, demo)) for x in first_scans(demo)])
    assert predictability(features, demo.latents).min() > 0.5


def test_marginals_carry_no_trait(demo: Cohort) -> None:
    features = np.stack([np.r_[x.mean(axis=1), x.std(axis=1)] for x in first_scans(demo)])
    assert predictability(features, demo.latents).max() < 0.05


def test_short_windows_are_noisy_and_pooling_over_networks_helps(demo: Cohort) -> None:
    windows = first_scans(demo, seconds=160)
    rois = predictability(np.stack([edges(x) for x in windows]), demo.latents)
    pooled = np.stack([edges(network_means(x, demo)) for x in windows])
    networks = predictability(pooled, demo.latents)
    full = np.stack([edges(network_means(x, demo)) for x in first_scans(demo)])
    assert rois.mean() > 0.2
    assert networks.mean() > rois.mean() + 0.07
    assert predictability(full, demo.latents).mean() > networks.mean() + 0.07


def test_phenotypes_read_the_traits(demo: Cohort) -> None:
    for site in demo.sites:
        age = [subject.age for subject in site.subjects]
        assert np.corrcoef(age, site.latents[:, 0])[0, 1] > 0.8
        assert 18 <= min(age) <= max(age) <= 80
    people = [subject for site in demo.sites for subject in site.subjects]
    for field, high, latent in (("sex", "F", 1), ("diagnosis", "case", 2)):
        is_high = np.array([getattr(subject, field) == high for subject in people])
        scores = demo.latents[:, latent]
        assert scores[is_high].mean() - scores[~is_high].mean() > 1
    assert {subject.ancestry for subject in people} == {"A", "B", "C"}


def test_sites_differ_in_marginals_but_no_subject_does(demo: Cohort) -> None:
    for site in demo.sites:
        means = np.stack([scan.series.mean(axis=1) for scan in site.scans])
        spreads = np.stack([scan.series.std(axis=1) for scan in site.scans])
        np.testing.assert_allclose(means, np.broadcast_to(means[0], means.shape), atol=1e-4)
        np.testing.assert_allclose(spreads, np.broadcast_to(spreads[0], spreads.shape), rtol=1e-4)
    gains = [np.nanmean(site.scans[0].series.std(axis=1)) for site in demo.sites]
    assert max(gains) / min(gains) > 1.2


def test_group_gradients_separate_networks(demo: Cohort) -> None:
    population = demo.settings.population
    total = ConnectivitySum(population.rois)
    for site in demo.sites:
        for _, scans in groupby(site.scans, key=lambda scan: scan.subject):
            total.add_subject([scan.series for scan in scans])
    basis = ConsensusBasis.from_sum(total, n_components=12)
    leading = basis.gradients[:, :4]
    means = np.stack([leading[population.network == k].mean(axis=0) for k in range(8)])
    between = (means[population.network] - leading.mean(axis=0)).var(axis=0)
    assert (between / leading.var(axis=0)).min() > 0.8
    # Past the components that tell networks apart lies the widest gap.
    assert np.argmax(-np.diff(basis.eigenvalues)) == 9


def test_a_subject_does_not_depend_on_the_others(tiny: Cohort) -> None:
    few = TINY.model_copy(update={"sites": 2, "subjects_per_site": (3, 5)})
    for site, expected in zip(generate_cohort(few).sites, tiny.sites, strict=False):
        for subject, known in zip(site.subjects, expected.subjects, strict=False):
            assert (subject.name, subject.age) == (known.name, known.age)
            np.testing.assert_array_equal(subject.latents, known.latents)
        for scan, whole in zip(site.scans, expected.scans, strict=False):
            assert (scan.subject, scan.session, scan.mean_fd) == (
                whole.subject,
                whole.session,
                whole.mean_fd,
            )
            np.testing.assert_array_equal(scan.series, whole.series)


def test_another_seed_is_other_people_of_the_same_population(tiny: Cohort) -> None:
    other = generate_site(TINY.model_copy(update={"seed": 1}), 0)
    assert other.rois == tiny.sites[0].rois
    assert not np.allclose(other.latents, tiny.sites[0].latents)
    assert not np.allclose(other.scans[0].series[:, :50], tiny.sites[0].scans[0].series[:, :50])


def test_what_is_learned_on_one_seed_holds_on_another(demo: Cohort) -> None:
    fresh = generate_cohort(demo.settings.model_copy(update={"seed": 1}))
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 6)))
    ridge.fit([edges(network_means(x, demo)) for x in first_scans(demo)], demo.latents)
    predicted = ridge.predict([edges(network_means(x, fresh)) for x in first_scans(fresh)])
    assert r2_score(fresh.latents, predicted) > 0.5


def test_sessions_of_one_person_resemble_each_other(demo: Cohort) -> None:
    def profile(scan: Scan) -> Array:
        return edges(network_means(np.nan_to_num(scan.series), demo))

    own, foreign = [], []
    for site in demo.sites:
        first = {scan.subject: profile(scan) for scan in site.scans if scan.session == "01"}
        for scan in site.scans:
            if scan.session == "02":
                again = profile(scan)
                for name, known in first.items():
                    same = np.corrcoef(again, known)[0, 1]
                    (own if name == scan.subject else foreign).append(same)
    assert len(own) > 20
    assert np.mean(own) > np.mean(foreign) + 0.1


def test_shapes_missing_rois_and_lengths(tiny: Cohort) -> None:
    for index, site in enumerate(tiny.sites):
        assert len(site.subjects) == 12
        missing = 2 if index == 2 else 0
        whole = round(TINY.frames * 2 / site.tr)
        for scan in site.scans:
            assert scan.series.dtype == np.float32
            assert scan.series.shape[0] == 50
            assert scan.series.shape[1] in (whole, round(TINY.frames / site.tr))
            assert np.isnan(scan.series).all(axis=1).sum() == missing
            assert np.isfinite(scan.series).all(axis=1).sum() == 50 - missing
            assert 0.01 < scan.mean_fd < 3
    assert [site.tr for site in tiny.sites] == [2.0, 2.5, 1.5, 2.0]


def test_roi_names_say_network_and_hemisphere() -> None:
    population = Population.of_size(100, 8, 4)
    assert population.rois[0] == "Net01_LH_01"
    assert len(set(population.rois)) == 100
    for name, network, half in zip(
        population.rois, population.network, population.half, strict=True
    ):
        assert name.startswith(f"Net{network + 1:02d}_{'LR'[half % 2]}H_")
    sizes = np.bincount(population.network)
    assert sizes.min() < 0.7 * sizes.max()
    assert np.bincount(population.half).min() >= 1


def test_person_is_the_group_when_nothing_moves_it() -> None:
    population = Population.of_size(100, 8, 4)
    rng = np.random.default_rng(0)
    still = {"trait_effect": 0.0, "ancestry_effect": 0.0, "individuality": 0.0}
    person = population.person(np.ones(4), 0, rng, **still)
    np.testing.assert_allclose(person, population.connectivity, atol=1e-12)


def test_trait_directions_are_orthogonal_to_one_another_and_to_ancestry() -> None:
    population = Population.of_size(100, 8, 4)
    rows = np.concatenate([population.trait_directions, population.ancestry_directions])
    flat = rows[:, *np.triu_indices(8, k=1)]
    np.testing.assert_allclose(flat @ flat.T, 28 * np.eye(7), atol=1e-9)


@given(
    scores=st.lists(st.floats(-6, 6), min_size=4, max_size=4),
    effect=st.floats(0, 2),
    seed=st.integers(0, 99),
)
def test_any_person_has_a_correlation_matrix(scores: list[float], effect: float, seed: int) -> None:
    person = Population.of_size(20, 8, 4).person(
        np.array(scores),
        seed % 3,
        np.random.default_rng(seed),
        trait_effect=effect / 4,
        ancestry_effect=effect,
        individuality=effect,
    )
    np.testing.assert_allclose(np.diag(person), 1.0)
    np.testing.assert_allclose(person, person.T, atol=1e-9)
    assert np.linalg.eigvalsh(person).min() > -1e-9


@pytest.mark.parametrize("tr", [0.7, 2.0, 3.0])
def test_time_courses_lie_in_the_resting_band_with_unit_variance(tr: float) -> None:
    series = band_limited(np.random.default_rng(0), 64, round(1200 / tr), tr)
    assert series.var() == pytest.approx(1.0, rel=0.08)
    power = (np.abs(np.fft.rfft(series)) ** 2).mean(axis=0)
    hertz = np.fft.rfftfreq(series.shape[1], tr)
    assert power[(hertz > 0.007) & (hertz < 0.15)].sum() / power.sum() > 0.9


def test_roi_noise_has_unit_variance_memory_and_smoothness() -> None:
    noise = roi_noise(np.random.default_rng(0), 60, 5000, 2.0, 0.15)
    assert noise.var() == pytest.approx(1.0, rel=0.03)
    r = np.corrcoef(noise)
    assert np.diag(r, 1).mean() == pytest.approx(0.15, abs=0.02)
    assert np.diag(r, 2).mean() == pytest.approx(0.0, abs=0.02)
    lagged = np.mean([np.corrcoef(x[1:], x[:-1])[0, 1] for x in noise])
    assert lagged == pytest.approx(np.exp(-2.0 / 1.5), abs=0.02)


def test_motion_is_recorded_and_reaches_all_rois_at_once() -> None:
    burst, mean_fd = head_motion(np.random.default_rng(3), 10, 400, 2.0, 0.3)
    assert mean_fd > 0.1
    assert np.linalg.matrix_rank(burst) == 1


@examples(max_examples=15)
@given(
    sites=st.integers(1, 3),
    networks=st.integers(4, 6),
    extra=st.integers(0, 20),
    frames=st.integers(16, 60),
    tr=st.floats(0.3, 4.0),
    strength=st.floats(0, 3),
    seed=st.integers(0, 2**40),
)
def test_any_valid_settings_give_finite_scans(
    sites: int, networks: int, extra: int, frames: int, tr: float, strength: float, seed: int
) -> None:
    settings = CohortSettings(
        seed=seed,
        sites=sites,
        subjects_per_site=2,
        rois=2 * networks + extra,
        networks=networks,
        latents=3,
        frames=frames,
        trs=(tr,),
        site_strength=strength,
    )
    for site in generate_cohort(settings).sites:
        for scan in site.scans:
            present = ~np.isnan(scan.series).all(axis=1)
            assert np.isfinite(scan.series[present]).all()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"rois": 12}, r"at least two ROIs a network .* found 12 ROIs for 8 networks"),
        ({"latents": 26}, r"at most 25 latents for 8 networks .* found 26"),
        ({"trs": ()}, r"repetition times in seconds from 0.3 to 4, found trs=\(\)"),
        ({"trs": (2000.0,)}, r"from 0.3 to 4, found trs=\(2000.0,\)"),
        ({"missing_rois": 51}, r"at most half of the 100 ROIs missing, found missing_rois=51"),
        ({"subjects_per_site": (3, 4)}, r"each of 5 sites, found subjects_per_site=\(3, 4\)"),
        ({"subjects_per_site": 0}, r"positive number of subjects"),
        ({"subjects": 3}, r"Extra inputs are not permitted"),
        ({"trait_effect": float("nan")}, r"finite number"),
    ],
)
def test_wrong_settings_are_told(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        CohortSettings.model_validate(wrong)
