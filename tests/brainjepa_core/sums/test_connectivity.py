"""Sums of functional connectivity over scans, subjects and sites."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.connectivity import pooled_fc
from shared_data import shared

from brainjepa_core.gradients import ConnectivitySum, dead_rois, functional_connectivity
from brainjepa_core.sums.protocol import total as total_of

ROIS = tuple(f"region-{letter}" for letter in "abcdefg")
R = len(ROIS)


def make_scan(rng: np.random.Generator, missing_share: float = 0.0):
    frames = int(rng.integers(20, 40))
    mixing = rng.standard_normal((R, 3))
    series = mixing @ rng.standard_normal((3, frames)) + rng.standard_normal((R, frames))
    missing = rng.random(R) < missing_share
    missing[rng.choice(R, 3, replace=False)] = False
    return series, missing


def make_subjects(seed: int, subjects: int = 12, missing_share: float = 0.3):
    rng = np.random.default_rng(seed)
    return [
        [make_scan(rng, missing_share) for _ in range(rng.integers(1, 4))] for _ in range(subjects)
    ]


def sum_subjects(subjects) -> ConnectivitySum:
    total = ConnectivitySum(ROIS)
    for scans in subjects:
        total.add_subject([s for s, _ in scans], missing=[m for _, m in scans])
    return total


def same(a: ConnectivitySum, b: ConnectivitySum) -> bool:
    first, second = a.to_arrays(), b.to_arrays()
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key]) and first[key].dtype == second[key].dtype
        for key in first
    )


def test_sum_equals_the_loop_oracle_with_missing_rois_and_several_scans_a_subject():
    subjects = make_subjects(0)
    np.testing.assert_allclose(
        sum_subjects(subjects).mean_fc(), pooled_fc(subjects), rtol=0, atol=1e-12
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 11))
def test_sum_of_site_sums_equals_the_pooled_sum(seed, cut):
    subjects = make_subjects(seed)
    sites = [sum_subjects(subjects[:cut]), sum_subjects(subjects[cut:])]
    together, pooled = total_of(sites), sum_subjects(subjects)
    np.testing.assert_allclose(together.z_sum, pooled.z_sum, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(together.pair_count, pooled.pair_count)
    assert same(sites[0] + sites[1], together)
    assert same(sum_subjects(subjects[:cut]), sites[0]), "adding must not change its parts"


def test_counts_are_of_people_alone():
    """Nothing tells how many scans and frames they have."""
    series, _ = make_scan(np.random.default_rng(1))
    valid = np.arange(series.shape[1]) > 3
    total = ConnectivitySum(ROIS)
    total.add_subject([series, series], frame_valid=[valid, None])
    total.add_scan(series, frame_valid=valid)
    assert total.to_arrays().keys() == {"rois", "z_sum", "pair_count", "subjects"}
    assert total.subjects == 2
    assert (total.pair_count == 2).all() and total.z_sum.shape == (R * (R - 1) // 2,)


def test_a_subject_weighs_the_same_whatever_its_number_of_scans():
    rng = np.random.default_rng(2)
    (a, _), (b, _) = make_scan(rng), make_scan(rng)
    once, often = ConnectivitySum(ROIS), ConnectivitySum(ROIS)
    for total, times in ((once, 1), (often, 5)):
        total.add_subject([a] * times)
        total.add_scan(b)
    np.testing.assert_allclose(once.z_sum, often.z_sum, atol=1e-12)


def test_rows_of_nan_are_missing_and_values_of_missing_rois_are_not_looked_at():
    series, missing = make_scan(np.random.default_rng(3))
    missing[[1, 4]] = True
    by_mask, by_nan, by_rubbish = (ConnectivitySum(ROIS) for _ in range(3))
    by_mask.add_scan(series, missing=missing)
    by_nan.add_scan(np.where(missing[:, None], np.nan, series))
    by_rubbish.add_scan(np.where(missing[:, None], [np.inf, *series[0, 1:]], series), missing)
    assert same(by_mask, by_nan) and same(by_mask, by_rubbish)
    by_mask.add_scan(series)
    rows, columns = np.triu_indices(R, k=1)
    touched = np.isin(rows, [1, 4]) | np.isin(columns, [1, 4])
    np.testing.assert_array_equal(by_mask.pair_count, np.where(touched, 1, 2))


def test_one_subject_gives_back_its_own_connectivity():
    series, _ = make_scan(np.random.default_rng(4))
    total = ConnectivitySum(ROIS)
    total.add_scan(series)
    np.testing.assert_allclose(total.mean_fc(), functional_connectivity(series), atol=1e-12)


def test_refused_scans_leave_the_sum_unchanged():
    series, _ = make_scan(np.random.default_rng(5))
    total = ConnectivitySum(ROIS)
    total.add_scan(series)
    before = total.to_arrays()
    dead = series.copy()
    dead[2] *= 1e-6
    with pytest.raises(ValueError, match=r"constant series.* in region-c; mark them as missing"):
        total.add_subject([series, dead])
    gap = series.copy()
    gap[5, 7] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in region-f; mark those ROIs"):
        total.add_scan(gap)
    with pytest.raises(ValueError, match=r"expected series with 7 ROIs \(rows\), found shape"):
        total.add_scan(series.T)
    with pytest.raises(ValueError, match="at least 2 ROIs with data in a scan, found 1"):
        total.add_scan(series, missing=np.arange(R) > 0)
    with pytest.raises(ValueError, match="'missing' as 7 booleans, found int64"):
        total.add_scan(series, missing=np.zeros(R, dtype=int))
    with pytest.raises(ValueError, match="at least one scan, found 0 scans"):
        total.add_subject([])
    with pytest.raises(ValueError, match="found 1 scans, 2 masks of missing ROIs and 1"):
        total.add_subject([series], missing=[None, None])
    for key, value in total.to_arrays().items():
        np.testing.assert_array_equal(value, before[key])
    total.add_scan(dead, missing=dead_rois(dead))
    assert total.subjects == 2


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (ROIS[:-1], "expected the same 7 ROIs, found 6 with missing: region-g; not expected: none"),
        ((*ROIS[:-1], "new"), "missing: region-g; not expected: new"),
        (ROIS[::-1], "found 'region-g' at position 0 where 'region-a' belongs; reorder"),
    ],
)
def test_sums_over_other_rois_are_refused(names, text):
    with pytest.raises(ValueError, match=text):
        ConnectivitySum(ROIS) + ConnectivitySum(names)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "at least 2 ROI names, found 1"),
        ("abc", "expected a list of ROI names, found one string"),
        (["a", "b", "a"], "each ROI name once, found repeated: a; rename"),
        (["a", ""], "found '' at position 1"),
        (["a", "b\n"], "found 'b.n' at position 1"),
        (["a", 3], "found 3 at position 1"),
    ],
)
def test_unusable_roi_names_are_refused(names, text):
    with pytest.raises(ValueError, match=text):
        ConnectivitySum(names)


def test_pairs_never_observed_are_named():
    series, _ = make_scan(np.random.default_rng(6))
    with pytest.raises(ValueError, match="21 of 21 pairs without any among 0 subjects"):
        ConnectivitySum(ROIS).mean_fc()
    total = ConnectivitySum(ROIS)
    total.add_scan(series, missing=np.isin(np.arange(R), [2, 3]))
    with pytest.raises(ValueError, match=r"11 of 21 .*ROIs never observed: region-c, region-d\)"):
        total.mean_fc()
    total.add_scan(series, missing=np.arange(R) == 3)
    total.add_scan(series, missing=np.arange(R) == 2)
    with pytest.raises(ValueError, match=r"1 of 21 .*for example region-c with region-d\)"):
        total.mean_fc()


def test_round_trip_is_exact(tmp_path):
    total = sum_subjects(make_subjects(7))
    total.save(tmp_path / "site.npz")
    assert same(ConnectivitySum.load(tmp_path / "site.npz"), total)
    assert [file.name for file in tmp_path.iterdir()] == ["site.npz"]
    assert same(ConnectivitySum.from_arrays(total.to_arrays()), total)
    assert same(
        ConnectivitySum.from_arrays(ConnectivitySum(ROIS).to_arrays()), ConnectivitySum(ROIS)
    )
    total.to_arrays()["z_sum"][:] = 0
    assert total.z_sum.any(), "arrays handed out are copies"


PAIRS = R * (R - 1) // 2


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("rois", np.array(ROIS[:3]), r"'z_sum' as float64 with shape \(3,\), found .*\(21,\)"),
        ("rois", np.array([ROIS]), r"'rois' as a one-dimensional array of text"),
        ("rois", np.arange(R), "'rois' as a one-dimensional array of text, found int64"),
        ("rois", np.array(["a"] * R), "each ROI name once"),
        ("z_sum", np.zeros((R, R)), r"'z_sum' as float64 with shape \(21,\), found .*\(7, 7\)"),
        ("z_sum", np.zeros(PAIRS, np.float32), r"'z_sum' as float64.*found float32"),
        (
            "z_sum",
            np.full(PAIRS, np.nan),
            "finite values in 'z_sum', found 21 of 21 NaN or",
        ),
        (
            "z_sum",
            np.full(PAIRS, np.inf),
            "found 21 of 21 NaN or infinite; leave this conn",
        ),
        ("pair_count", np.full(PAIRS, -1), "'pair_count', found the negative value -1"),
        ("pair_count", np.full(PAIRS, 99), "no pair in more than the 12 subjects, found .* 99"),
        ("pair_count", np.ones(PAIRS), "'pair_count' as int64 with shape .*found float64"),
        ("subjects", np.array(-2), "'subjects', found the negative value -2"),
        ("subjects", np.array([12]), r"'subjects' as int64 with shape \(\), found int64 .*\(1,\)"),
    ],
)
def test_impossible_arrays_are_refused(key, value, text):
    arrays = sum_subjects(make_subjects(8)).to_arrays()
    with pytest.raises(ValueError, match=text):
        ConnectivitySum.from_arrays({**arrays, key: value})


def test_missing_and_foreign_keys_are_refused():
    arrays = sum_subjects(make_subjects(8)).to_arrays()
    with pytest.raises(ValueError, match=r"with the arrays pair_count, .*found extra, pai"):
        ConnectivitySum.from_arrays({**arrays, "extra": np.zeros(1)})
    arrays.pop("z_sum")
    with pytest.raises(ValueError, match=r"expected a connectivity sum with the arrays .*z_sum;"):
        ConnectivitySum.from_arrays(arrays)
    with pytest.raises(ValueError, match="found none; was it written by another program"):
        ConnectivitySum.from_arrays({})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("sums") / "sum.npz"
    total = sum_subjects(make_subjects(9))
    total.save(path)
    return total, path.read_bytes(), path.with_name("altered.npz")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_files_raise_value_error_or_are_read_unchanged(saved, data):
    total, intact, path = saved
    damaged = bytearray(intact)
    if data.draw(st.booleans(), label="truncate"):
        damaged = damaged[: data.draw(st.integers(0, len(intact) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        found = ConnectivitySum.load(path)
    except ValueError as error:
        assert "expected" in str(error) and str(path.parent) not in str(error)
    else:
        assert same(found, total)  # a byte that zip does not use (a time stamp, say)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_foreign_bytes_raise_value_error(saved, content):
    path = saved[2]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected 'altered.npz' to be an intact npz archive"):
        ConnectivitySum.load(path)


def test_a_bare_array_pickled_objects_and_no_file_are_refused(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.zeros(3))
    np.savez(tmp_path / "b.npz", rois=np.array([{}], dtype=object))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(ValueError, match=f"expected '{name}' to be an intact npz archive"):
            ConnectivitySum.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"expected a file named 'c.npz', found none"):
        ConnectivitySum.load(tmp_path / "c.npz")


def load_site(path) -> list[np.ndarray]:
    archive = np.load(path)
    split = np.split(archive["ts"].astype(np.float64), np.cumsum(archive["lengths"])[:-1])
    return [series.T for series in split]


def test_twelve_real_sites_add_up_to_the_pooled_subjects():
    folder = shared("data", "abide")
    with open(folder / "participants.tsv", newline="") as table:
        people = len(list(csv.DictReader(table, delimiter="\t")))
    sites = sorted(p for p in folder.glob("*.npz") if p.name != "project_450.npz")
    rois = [str(name) for name in np.load(sites[0])["roi"]]
    upper = np.triu_indices(len(rois), k=1)
    pooled, count, parts = np.zeros(len(upper[0])), np.zeros(len(upper[0])), []
    for site in sites:
        part = ConnectivitySum(rois)
        for series in load_site(site):
            dead = dead_rois(series)
            part.add_scan(series, missing=dead)
            r = np.corrcoef(series)[upper].clip(-1 + 1e-7, 1 - 1e-7)
            seen = np.outer(~dead, ~dead)[upper]
            pooled += np.where(seen, np.arctanh(r), 0)
            count += seen
        parts.append(part)
    total = total_of(parts)
    assert len(sites) == 12 and total.subjects == people == 312
    np.testing.assert_allclose(total.z_sum, pooled, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(total.pair_count, count)
    # The reference run left no nearly dead ROI out (28 of 96,720 here), hence the tolerance.
    reference = np.load(shared("reference", "brainspace_abide310.npz"))["fc"]
    np.testing.assert_allclose(total.mean_fc(), reference, rtol=0, atol=5e-3)
