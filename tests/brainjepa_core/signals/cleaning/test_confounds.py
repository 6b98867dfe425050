"""fMRIPrep's confounds: which columns a preset takes, which frames it leaves, what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from brainjepa_core.signals.cleaning.confounds import PRESETS, check_columns, read_confounds
from brainjepa_core.signals.preparation import CleaningSettings
from brainjepa_core.signals.problems import ScanProblem, UnusableProblem
from brainjepa_simulations.painting.confounds import simulate_confounds

FRAMES = 100
STEM = "sub-01_task-rest_run-1"


@pytest.fixture(scope="module")
def confounds():
    return simulate_confounds(FRAMES, 2.0, 0.2, np.random.default_rng(0), dummies=2)


@pytest.fixture
def image(tmp_path, confounds):
    """An image's name with its table beside it; nobody reads the image."""
    path = tmp_path / f"{STEM}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    path.touch()
    table_of(path).write_text(confounds.tsv())
    table_of(path).with_suffix(".json").write_text(confounds.json())
    return path


def table_of(image):
    return image.with_name(f"{STEM}_desc-confounds_timeseries.tsv")


def read(image, frames=FRAMES, **settings):
    return read_confounds(image, table_of(image), CleaningSettings(**settings), frames)


@pytest.mark.parametrize("preset, count", [("simple_motion", 6), ("motion36", 36)])
def test_motion_presets(image, confounds, preset, count):
    found = read(image, preset=preset)
    drift = [name for name in found.names if name.startswith("cosine")]
    assert len(found.names) - len(drift) == count and drift
    expected = confounds.table[list(found.names)].bfill(limit=1).to_numpy()
    expected = expected - expected[found.keep].mean(0)
    np.testing.assert_allclose(found.regressors, expected, atol=1e-9)


def test_motion_and_five_components_a_tissue(image):
    names = read(image, preset="motion24_acompcor").names
    assert sum("comp_cor" in name for name in names) == 10
    assert sum(bool(re.match("trans|rot", name)) for name in names) == 24


@pytest.mark.parametrize("word", ["n/a", "NA", "nan", ""])
def test_motion_that_is_known_of_no_frame_is_unknown(image, word):
    table = pd.read_csv(table_of(image), sep="\t", dtype=str, keep_default_na=False)
    table["framewise_displacement"] = word
    table.to_csv(table_of(image), sep="\t", index=False)
    assert read(image).fd is None


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ({40: "n/a"}, "expected framewise_displacement of every frame but the first, found 1 of"),
        ({3: "0,90", 5: "0,1"}, "numbers in column framewise_displacement, found a decimal comma"),
        ({7: "-9999"}, "framewise_displacement of 0 mm or more, found 1 of 100 frames below"),
        ({7: "high"}, "numbers in column framewise_displacement, found text in line 9; write n/a"),
        ({7: "1_0"}, "numbers in column framewise_displacement, found text in line 9; write n/a"),
    ],
)
def test_motion_is_never_taken_for_stillness(image, cells, error):
    table = pd.read_csv(table_of(image), sep="\t", dtype=str, keep_default_na=False)
    for frame, cell in cells.items():
        table.loc[frame, "framewise_displacement"] = cell
    table.to_csv(table_of(image), sep="\t", index=False)
    with pytest.raises(ScanProblem, match=error):
        read(image)


def test_frames_before_the_steady_state_are_not_kept(image):
    np.testing.assert_array_equal(np.flatnonzero(~read(image).keep), [0, 1])


@pytest.mark.parametrize("more", [{}, {"scrub": True, "fd_threshold": 9, "dvars_threshold": 99}])
def test_they_are_not_kept_without_regressors_either(image, more):
    found = read(image, preset="none", **more)
    assert found.regressors is None and np.flatnonzero(~found.keep).tolist() == [0, 1]


def test_flags_of_the_steady_state_are_numbers(image):
    rewrite(image, {"non_steady_state_outlier00": {5: "yes"}})
    with pytest.raises(ScanProblem, match="non_steady_state_outlier00, found text in line 7"):
        read(image, preset="none")


def rewrite(image, columns):
    """Cells of the table, by column and frame (or all frames: None)."""
    table = pd.read_csv(table_of(image), sep="\t", dtype=str, keep_default_na=False)
    for column, cells in columns.items():
        for frame, cell in cells.items():
            table.loc[slice(None) if frame is None else frame, column] = cell
    table.to_csv(table_of(image), sep="\t", index=False)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (
            {"framewise_displacement": {None: "2.0"}},
            "100 beyond fd_threshold 0.5 mm, 0 beyond",
        ),
        (
            {"std_dvars": {None: "9"}},
            "0 beyond fd_threshold 0.5 mm, 100 beyond dvars_thresh",
        ),
        ({"framewise_displacement": {None: "2.0", 50: "0.1"}}, "99 beyond fd_threshold 0.5 mm, 0"),
        ({"framewise_displacement": {None: "2.0", 50: "0.1", 51: "0.1"}}, "98 beyond fd_threshold"),
    ],
    ids=["all by displacement", "all by DVARS", "one left", "two left"],
)
@pytest.mark.parametrize("preset", ["none", "simple_motion"])
def test_no_frame_is_left(image, columns, found, preset):
    still = {"framewise_displacement": {None: "0.1"}, "std_dvars": {None: "1.0"}}
    rewrite(image, still)
    rewrite(image, columns)
    with pytest.raises(UnusableProblem) as problem:
        read(image, preset=preset, scrub=True)
    text = str(problem.value)
    assert f"expected frames that are not censored, found none of 100 left ({found}" in text
    assert text.endswith("; raise the thresholds under cleaning, or leave the scan out")


@pytest.mark.parametrize(
    ("column", "frame", "found"),
    [
        ("framewise_displacement", None, "99 of 100 frames without a number"),
        ("std_dvars", None, "99 of 100 frames without a number"),
        ("std_dvars", 40, "1 of 100 frames without a number"),
    ],
)
def test_scrubbing_by_what_is_not_known_is_refused(image, column, frame, found):
    rewrite(image, {column: {frame: "n/a"}})
    text = f"{column} of every frame but the first for cleaning.scrub, found {found}; run"
    with pytest.raises(ScanProblem, match=text):
        read(image, scrub=True)
    assert read(image).names  # not asked for without


@pytest.mark.parametrize(
    ("column", "cell", "found"),
    [
        ("trans_y", "0,01", "a decimal comma in line 42; write points"),
        ("rot_x", "1_0", "text in line 42"),
    ],
)
def test_text_among_the_regressors(image, column, cell, found):
    rewrite(image, {column: {40: cell}})
    with pytest.raises(ScanProblem, match=f"numbers in column {column}, found {found}"):
        read(image)


@pytest.mark.parametrize("twice", ["trans_x", "Trans_X ", "framewise_displacement"])
def test_a_column_that_is_there_twice(image, twice):
    lines = table_of(image).read_text().splitlines()
    rows = [f"{lines[0]}\t{twice}", *(f"{line}\t0" for line in lines[1:])]
    table_of(image).write_text("\n".join(rows))
    with pytest.raises(ScanProblem, match=f"column once, found '{twice.strip()}' twice in the"):
        read(image)


def test_scrubbing_takes_frames_beyond_the_thresholds_and_short_stretches(image):
    table = pd.read_csv(table_of(image), sep="\t", na_values="n/a")
    table.loc[:, "framewise_displacement"] = 0.1
    table.loc[:, "std_dvars"] = 1.0
    table.loc[[50, 53], "framewise_displacement"] = 0.7  # 51 and 52 are less than five frames
    table.loc[80, "std_dvars"] = 1.6
    table.to_csv(table_of(image), sep="\t", index=False, na_rep="n/a")
    found = read(image, scrub=True)
    assert np.flatnonzero(~found.keep).tolist() == [0, 1, 50, 51, 52, 53, 80]
    assert np.flatnonzero(~read(image, scrub=True, fd_threshold=0.9).keep).tolist() == [0, 1, 80]
    found = read(image, preset="none", scrub=True)
    assert found.regressors is None and found.names == () and not found.keep[50]


def test_displacement(image, confounds):
    expected = confounds.table["framewise_displacement"].fillna(0)
    np.testing.assert_allclose(read(image, preset="none").fd, expected, atol=1e-12)


def test_nothing_is_needed_for_no_cleaning(image):
    found = read_confounds(image, None, CleaningSettings(preset="none"), 7)
    assert found.regressors is None and found.keep.tolist() == [True] * 7 and found.fd is None


@pytest.mark.parametrize(
    "preset, column",
    [
        ("simple_motion", "rot_y"),
        ("motion24_acompcor", "trans_x_derivative1_power2"),
        ("motion36", "global_signal_power2"),
    ],
)
def test_a_missing_column_is_named(image, preset, column):
    table = pd.read_csv(table_of(image), sep="\t", na_values="n/a").drop(columns=column)
    table.to_csv(table_of(image), sep="\t", index=False, na_rep="n/a")
    text = (
        rf"{STEM}_desc-confounds_timeseries.tsv: expected the columns of preset '{preset}', found "
        rf"1 missing \({column}\); run fMRIPrep with its confounds, or choose another cleaning"
    )
    with pytest.raises(ScanProblem, match=text):
        check_columns(table_of(image), CleaningSettings(preset=preset))
    with pytest.raises(ScanProblem, match=text):
        read(image, preset=preset)


def test_the_columns_asked_for_are_those_nilearn_uses(image):
    for preset in PRESETS:
        check_columns(table_of(image), CleaningSettings(preset=preset, scrub=True))
        read(image, preset=preset, scrub=True)


def test_scrubbing_needs_its_columns(image):
    table = pd.read_csv(table_of(image), sep="\t", na_values="n/a").drop(columns="std_dvars")
    table.to_csv(table_of(image), sep="\t", index=False, na_rep="n/a")
    with pytest.raises(ScanProblem, match=r"with scrub, found 1 missing \(std_dvars\)"):
        read(image, scrub=True)


def test_the_table_of_another_scan(image):
    with pytest.raises(ScanProblem, match="expected 90 rows, one a frame of the image, found 100"):
        read(image, frames=90)


def test_a_gap_in_a_column(image):
    table = pd.read_csv(table_of(image), sep="\t", na_values="n/a")
    table.loc[40, "rot_z"] = np.nan
    table.to_csv(table_of(image), sep="\t", index=False, na_rep="n/a")
    with pytest.raises(ScanProblem, match="numbers in every row, found gaps in rot_z"):
        read(image)


def test_what_nilearn_refuses_is_told(image):
    table_of(image).with_suffix(".json").write_text(json.dumps({}))
    with pytest.raises(ScanProblem, match="confounds that nilearn can read for preset 'motion24"):
        read(image, preset="motion24_acompcor")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a\tb\n1\n2\t3\t4\n", b"{}"])
def test_no_table(image, content):
    table_of(image).write_bytes(content)
    with pytest.raises(ScanProblem, match=f"{STEM}_desc-confounds_timeseries.tsv: expected"):
        read(image)
