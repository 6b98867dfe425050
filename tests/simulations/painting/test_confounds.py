"""Made-up confounds: what nilearn loads of them, how the head moved, what cleaning undoes."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from nilearn.glm.first_level.design_matrix import create_cosine_drift
from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy
from nilearn.signal import clean

from brainjepa_simulations.painting.confounds import (
    MOTION,
    SIGNALS,
    contaminate,
    simulate_confounds,
)

FRAMES, TR = 200, 2.0
PRESETS = {
    "simple_motion": {"strategy": ("motion", "high_pass"), "motion": "basic"},
    "motion24_acompcor": {
        "strategy": ("motion", "high_pass", "compcor"),
        "motion": "full",
        "compcor": "anat_separated",
        "n_compcor": 5,
    },
    "motion36": {
        "strategy": ("motion", "high_pass", "wm_csf", "global_signal"),
        "motion": "full",
        "wm_csf": "full",
        "global_signal": "full",
    },
}


def confounds_of(mean_fd=0.2, seed=0, **options):
    return simulate_confounds(FRAMES, TR, mean_fd, np.random.default_rng(seed), **options)


@pytest.fixture
def written(tmp_path):
    """Write confounds beside an image, whose name is all that nilearn wants of it."""

    def write(confounds):
        table = tmp_path / "sub-1_task-rest_desc-confounds_timeseries.tsv"
        table.write_text(confounds.tsv())
        table.with_suffix(".json").write_text(confounds.json())
        image = tmp_path / "sub-1_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
        nib.save(nib.Nifti1Image(np.zeros((1, 1, 1, FRAMES), np.float32), np.eye(4)), image)
        return str(image)

    return write


@pytest.mark.parametrize("preset", PRESETS)
def test_nilearn_loads_the_regressors_of_each_preset(written, preset):
    confounds = confounds_of()
    loaded, mask = load_confounds(written(confounds), **PRESETS[preset])
    expected = confounds.regressors(preset)
    expected = expected - expected.mean(0)
    assert mask is None
    assert loaded.shape[1] == {"simple_motion": 6, "motion24_acompcor": 34, "motion36": 36}[
        preset
    ] + sum(name.startswith("cosine") for name in confounds.table)
    order = sorted(range(expected.shape[1]), key=lambda i: tuple(expected[:3, i]))
    found = loaded.to_numpy()
    found = found[:, sorted(range(found.shape[1]), key=lambda i: tuple(found[:3, i]))]
    np.testing.assert_allclose(found, expected[:, order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        PRESETS["motion36"],
        {"strategy": ("motion", "wm_csf", "high_pass"), "motion": "full", "wm_csf": "full"},
        {"strategy": ("high_pass", "compcor"), "compcor": "anat_combined", "n_compcor": 5},
        {"strategy": ("high_pass", "compcor"), "compcor": "anat_separated", "n_compcor": 5},
        {"strategy": ("motion", "scrub", "high_pass"), "scrub": 5, "fd_threshold": 0.5},
    ],
)
def test_nilearn_loads_every_strategy(written, options):
    loaded, _ = load_confounds(written(confounds_of(0.3)), **options)
    assert np.isfinite(loaded.to_numpy()).all() and len(loaded) == FRAMES
    components = [name for name in loaded if "comp_cor" in name]
    separated = options.get("compcor") == "anat_separated"
    assert len(components) == 5 * ("compcor" in options) * (1 + separated)


@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
def test_nilearn_loads_its_named_strategies(written, strategy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded, mask = load_confounds_strategy(written(confounds_of(0.3)), strategy)
    assert np.isfinite(loaded.to_numpy()).all()
    assert (mask is not None and len(mask) < FRAMES) == (strategy == "scrubbing")


def test_frames_that_move_too_much_are_scrubbed_and_marked(written):
    confounds = confounds_of(0.3)
    table = confounds.table
    moved = (table.framewise_displacement > 0.5) | (table.std_dvars > 1.5)
    marked = table.filter(like="motion_outlier").sum(axis=1)
    assert 2 < moved.sum() < FRAMES / 2
    np.testing.assert_array_equal(moved, marked)
    options = {"strategy": ("motion", "scrub"), "scrub": 0}
    _, mask = load_confounds(written(confounds), **options)
    np.testing.assert_array_equal(mask, np.flatnonzero(~moved))


def test_frames_before_steady_state_are_left_out(written):
    _, mask = load_confounds(written(confounds_of(dummies=3)), strategy=("motion",))
    np.testing.assert_array_equal(mask, np.arange(3, FRAMES))


@pytest.mark.parametrize("mean_fd", [0.02, 0.15, 1.3])
def test_framewise_displacement_is_that_of_the_motion_parameters(mean_fd):
    table = confounds_of(mean_fd).table
    steps = table[list(MOTION)].diff().abs()
    steps.iloc[:, 3:] *= 50  # a rotation in radians moves a point 50 mm away by this many mm
    np.testing.assert_allclose(table.framewise_displacement[1:], steps.sum(axis=1)[1:], rtol=1e-9)
    assert table.framewise_displacement.mean() == pytest.approx(mean_fd)
    assert confounds_of(mean_fd).tsv().splitlines()[1].split("\t").count("n/a") > 1
    assert np.isnan(table.framewise_displacement[0]) and np.isnan(table.std_dvars[0])


def test_expansions_are_derivatives_and_squares():
    table = confounds_of().table
    for name in (*MOTION, *SIGNALS):
        np.testing.assert_allclose(table[f"{name}_derivative1"], table[name].diff())
        np.testing.assert_allclose(table[f"{name}_power2"], table[name] ** 2)
        np.testing.assert_allclose(table[f"{name}_derivative1_power2"], table[name].diff() ** 2)


def test_drift_is_the_field_s_cosine_basis_and_components_are_free_of_it():
    table = confounds_of().table
    drift = table.filter(like="cosine").to_numpy()
    expected = create_cosine_drift(1 / 128, TR * np.arange(FRAMES))
    np.testing.assert_allclose(drift, expected[:, : drift.shape[1]], atol=1e-12)
    assert drift.shape[1] == 6
    for letter in "acw":
        components = table.filter(regex=f"^{letter}_comp_cor").to_numpy()
        np.testing.assert_allclose(components.T @ components, np.eye(6), atol=1e-12)
        np.testing.assert_allclose(components.T @ drift, 0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:From release 0.14")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("detrend", [True, False])
def test_cleaning_gives_back_what_was_known(written, preset, detrend):
    confounds = confounds_of()
    rng = np.random.default_rng(1)
    series = 1000 + 10 * rng.standard_normal((7, FRAMES)).cumsum(axis=1)
    mixed, known = contaminate(series, confounds.regressors(preset), 0.5, rng)
    mean = known.mean(1, keepdims=True)
    np.testing.assert_allclose(mean, series.mean(1, keepdims=True))
    assert (np.abs(mixed - known).std(1) > 0.2 * series.std(1)).all()
    loaded, _ = load_confounds(written(confounds), **PRESETS[preset])
    cleaned = clean(mixed.T, detrend=detrend, standardize=None, confounds=loaded.to_numpy()).T
    np.testing.assert_allclose(
        cleaned - cleaned.mean(1, keepdims=True), known - mean, atol=1e-6 * series.std()
    )


def test_missing_rois_stay_missing_and_others_do_not_notice():
    regressors = confounds_of().regressors("simple_motion")
    series = np.random.default_rng(0).standard_normal((4, FRAMES))
    whole = contaminate(series, regressors, 0.5, np.random.default_rng(3))
    series[2] = np.nan
    for found, expected in zip(
        contaminate(series, regressors, 0.5, np.random.default_rng(3)), whole, strict=True
    ):
        assert np.isnan(found[2]).all()
        np.testing.assert_allclose(found[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-12)


def test_scans_too_short_for_a_preset_are_refused():
    short = simulate_confounds(40, TR, 0.2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="found 40 frames and 38 confounds; paint longer scans or"):
        contaminate(np.zeros((3, 40)), np.zeros((40, 38)), 0.5, np.random.default_rng(0))
    contaminate(np.eye(3, 40), short.regressors("simple_motion"), 0.5, np.random.default_rng(0))
