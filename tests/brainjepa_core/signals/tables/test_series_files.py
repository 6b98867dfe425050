"""Series files of every kind: the same numbers come back, by name; damage is a named problem."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.io import savemat
from shared_data import shared

from brainjepa_core.atlas import load_atlas, names_in_7network_order
from brainjepa_core.gradients import (
    ConnectivitySum,
    canonical_correlations,
    dead_rois,
    diffusion_map,
)
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.tables.roi_names import in_atlas_order
from brainjepa_core.signals.tables.series_files import (
    SERIES_ENDINGS,
    ending,
    read_series,
    scans_in,
    series_shape,
)

NAMES = ["a", "b", "c"]
SERIES = np.random.default_rng(0).standard_normal((5, 3))


def text(series: np.ndarray, delimiter: str, header: str = "") -> bytes:
    rows = [delimiter.join("n/a" if np.isnan(x) else repr(float(x)) for x in row) for row in series]
    return (header + "\n".join(rows) + "\n").encode()


def write(file: Path, series: np.ndarray) -> Path:
    """A series in the form that the ending of a file says."""
    kind = ending(file)
    if kind == ".npy":
        np.save(file, series)
    elif kind == ".npz":
        np.savez(file, rest=series)
    elif kind == ".mat":
        savemat(file, {"ts": series, "tr": 2.0, "note": "rest"})
    elif kind in (".h5", ".hdf5"):
        with h5py.File(file, "w") as handle:
            handle["sub-01/rest"] = series
    else:
        delimiter = {".csv": ",", ".csv.gz": ",", ".1D": " "}.get(kind, "\t")
        header = "# a comment of AFNI\n" if kind == ".1D" else ""
        content = text(series, delimiter, header)
        file.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    return file


def by_rows(table: str) -> bytes:
    return table.replace("|", "\t").encode()


@pytest.mark.parametrize("kind", SERIES_ENDINGS)
def test_every_kind_gives_the_same_numbers(tmp_path, kind):
    series = SERIES.copy()
    series[:, 1] = np.nan
    file = write(tmp_path / f"x{kind}", series)
    assert np.array_equal(read_series(file, NAMES), series, equal_nan=True)
    assert series_shape(file, NAMES) == (5, 3)
    file = write(tmp_path / f"turned{kind}", series.T)
    assert np.array_equal(read_series(file, NAMES), series, equal_nan=True)
    assert series_shape(file, NAMES) == (5, 3)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("a|b|c\n1|2|3\n4|5|6\n", [[1, 2, 3], [4, 5, 6]]),
        ("c|time|A\n1|2|3\n4|5|6\n", [[3, np.nan, 1], [6, np.nan, 4]]),
        ('"b"|"c"|"a"\n1|2|n/a\n4|5|\n\n', [[np.nan, 1, 2], [np.nan, 4, 5]]),
        ("|a|b|c\n0|7|8|9\n1|7|8|8\n", [[7, 8, 9], [7, 8, 8]]),
        ("b|1|4\na|2|5\nc|3|6\n", [[2, 1, 3], [5, 4, 6]]),  # one row an ROI
        ("label|t0|t1\nb|1|4\nx|2|5\n", [[np.nan, 1, np.nan], [np.nan, 4, np.nan]]),
        ("frame|c|a|b\nf1|1|2|3\nf2|4|5|6\n", [[2, 3, 1], [5, 6, 4]]),
        ("c|a|b\nf1|1|2|3\nf2|4|5|6\n", [[2, 3, 1], [5, 6, 4]]),  # R's write.table
        ("\ufeff1|2|3\r\n4|5|1e-3\r\n", [[1, 2, 3], [4, 5, 0.001]]),
    ],
)
def test_names_in_a_table_are_believed(tmp_path, table, expected):
    file = tmp_path / "x.tsv"
    file.write_bytes(by_rows(table))
    assert np.array_equal(read_series(file, NAMES), expected, equal_nan=True)
    assert series_shape(file, NAMES) == (2, 3)


@pytest.mark.parametrize(
    "table",
    [
        "0|1|2|3|4\n7|8|9|6|5\n7|8|8|6|5\n",
        "|0|1|2|3|4\n0|7|8|9|6|5\n1|7|8|8|6|5\n",
        "|1|2|3|4|5\n0|7|8|9|6|5\n1|7|8|8|6|5\n",
    ],
)
def test_numbers_that_pandas_gives_to_rows_and_columns_are_no_signal(tmp_path, table):
    file = tmp_path / "x.tsv"
    file.write_bytes(by_rows(table))
    assert read_series(file, [*NAMES, "d", "e"]).tolist() == [[7, 8, 9, 6, 5], [7, 8, 8, 6, 5]]
    assert series_shape(file, [*NAMES, "d", "e"]) == (2, 5)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ("", "expected numbers, one row a frame, found no row of numbers"),
        ("a|b|c\n", "expected numbers, one row a frame, found no row of numbers"),
        ("1|2|3\n4|5\n", "expected 3 cells in every row, found 2 in line 2; .* cut short"),
        ("1|2|3\n4|x|6\n", "expected numbers, one row a frame, found text in line 2; put n/a"),
        ("1|2\n3|4\n", r"expected 3 columns, one a name, found shape \[2, 2\]; check that the na"),
        ("x|y|z\n1|2|3\n4|5|6\n", "expected ROI names .* such as a, b, c, found x, y, z; give na"),
        ("a|b|A\n1|2|3\n", "expected each ROI once, found 'a' and 'A' for a; keep one"),
        ("a|b\n1|2|3\n", "expected a name for each of 3 columns, found 2 names in the first line"),
        (
            "ä|b|c\n1|2|3\n",
            "expected numbers, one row a frame, found bytes that .* UTF-8",
        ),
    ],
)
def test_refusals_name_the_file(tmp_path, table, error):
    (tmp_path / "x.tsv").write_bytes(table.replace("|", "\t").encode("latin-1"))
    with pytest.raises(ScanProblem, match=f"^x.tsv: {error}"):
        read_series(tmp_path / "x.tsv", NAMES)


@pytest.mark.parametrize("ending", [".tsv", ".tsv.gz", ".1D", ".npy", ".npz", ".h5", ".mat"])
def test_as_many_frames_as_rois_need_names_or_a_word(tmp_path, ending):
    square = SERIES[:3]
    file = write(tmp_path / f"x{ending}", square)
    for look in (series_shape, read_series):
        with pytest.raises(ScanProblem, match="word of which axis is time, found 3 of both; say"):
            look(file, NAMES)
    np.testing.assert_array_equal(read_series(file, NAMES, time="rows"), square)
    np.testing.assert_array_equal(read_series(file, NAMES, time="columns"), square.T)
    named = tmp_path / "named.tsv"
    named.write_text("\t".join(NAMES) + "\n" + text(square, "\t").decode())
    np.testing.assert_array_equal(read_series(named, NAMES), square)


def test_headers_alone_show_what_does_not_fit(tmp_path):
    file = tmp_path / "x.tsv"
    for table in (
        "x|y|z\n1|2|3\n",
        "1|2\n3|4\n",
        "",
        "a|b|a\n1|2|3\n",
        "1|2|3\n4|5|6\n7|8|9\n7|8|\x00",
    ):
        file.write_bytes(by_rows(table))
        if "\x00" in table:  # below the second line only reading shows
            assert series_shape(file, NAMES) == (4, 3)
            continue
        with pytest.raises(ScanProblem):
            series_shape(file, NAMES)
    file.write_bytes(gzip.compress(text(SERIES, "\t"))[:-20])
    file = file.rename(tmp_path / "x.tsv.gz")
    with pytest.raises(ScanProblem, match="found a file that ends too early; write the file again"):
        series_shape(file, NAMES)
    whole = write(tmp_path / "x.npy", SERIES)
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(ScanProblem, match=r"x.npy: expected numbers, .* found damage, or"):
        series_shape(whole, NAMES)


def test_one_file_of_several_scans(tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, two=SERIES + 1, one=SERIES, tr=2.0, other=np.zeros((2, 2, 2)), text=[["a"]])
    parts = {part.name: part for part in scans_in(file)}
    assert set(parts) == {"one", "two"}
    assert np.array_equal(read_series(file, NAMES, parts["two"]), SERIES + 1)
    with pytest.raises(ScanProblem, match="one scan in a file, found 2; prepare the folder as"):
        read_series(file, NAMES)

    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["sub-01/rest"], handle["sub-02/rest"] = SERIES, SERIES.T + 1
    parts = {part.name: part for part in scans_in(tmp_path / "x.h5")}
    assert series_shape(tmp_path / "x.h5", NAMES, parts["sub-02/rest"]) == (5, 3)
    assert np.array_equal(read_series(tmp_path / "x.h5", NAMES, parts["sub-02/rest"]), SERIES + 1)


@pytest.mark.parametrize("kind", [".npz", ".h5"])
def test_one_array_of_all_scans(tmp_path, kind):
    file = tmp_path / f"all{kind}"
    arrays = {
        "ts": np.stack([SERIES, SERIES + 1]).astype(np.float32),
        "participant_id": np.array([b"p1", b"p2"]),
        "tr": np.array([2.0, 0.8]),
        "roi": np.array([b"c", b"a", b"x"]),
    }
    if kind == ".npz":
        np.savez_compressed(file, **arrays)
    else:
        with h5py.File(file, "w") as handle:
            for name, array in arrays.items():
                handle[name] = array
    first, second = scans_in(file)
    assert (first.name, first.tr, second.name, second.tr) == ("p1", 2.0, "p2", 0.8)
    expected = np.full((5, 3), np.nan)
    expected[:, [2, 0]] = (SERIES + 1).astype(np.float32)[:, :2]
    assert series_shape(file, NAMES, second) == (5, 3)
    assert np.array_equal(read_series(file, NAMES, second), expected, equal_nan=True)
    with pytest.raises(
        ScanProblem, match=r"one participant_id a scan, .*found ts float64 \[2, 5\]"
    ):
        np.savez(tmp_path / "bad.npz", ts=np.zeros((2, 5)), participant_id=["a", "b"])
        scans_in(tmp_path / "bad.npz")


def sound(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == ".npy":
        np.save(stream, SERIES)
    elif kind == ".npz":
        np.savez_compressed(stream, ts=SERIES[None], participant_id=["p"], tr=2.0)
    elif kind == ".mat":
        savemat(stream, {"ts": SERIES})
    elif kind == ".h5":
        with h5py.File(stream, "w") as handle:
            handle["ts"] = SERIES
    else:
        content = text(SERIES, "," if ".csv" in kind else "\t", "a,b,c\n" * (kind == ".csv"))
        return gzip.compress(content, mtime=0) if kind.endswith("gz") else content
    return stream.getvalue()


@pytest.mark.parametrize("kind", [".tsv", ".csv", ".tsv.gz", ".1D", ".npy", ".npz", ".h5", ".mat"])
@given(st.data())
def test_damage_raises_nothing_but_problems(tmp_path_factory, kind, data):
    whole = bytearray(sound(kind))
    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=6)):
        whole[place] = value
    cut = data.draw(st.integers(0, len(whole)))
    content = data.draw(
        st.sampled_from([bytes(whole), bytes(whole[:cut])]) | st.binary(max_size=60)
    )
    file = tmp_path_factory.mktemp("damage") / f"x{kind}"
    file.write_bytes(content)
    for read in (scans_in, lambda f: series_shape(f, NAMES), lambda f: read_series(f, NAMES)):
        try:
            read(file)
        except ScanProblem as problem:
            assert str(problem).startswith(f"x{kind}: expected ") and problem.mend


@given(
    st.sampled_from([".tsv", ".csv", ".1D"]),
    st.text("0123456789.,\t\n-en abc/\"'\x00#", max_size=60),
)
@example(".tsv", "1\t2\t3\n4\n")
@example(".csv", ",,\n,,\n")
@example(".csv", "0,1,2")
def test_text_of_any_kind_raises_nothing_but_problems(tmp_path_factory, kind, content):
    file = tmp_path_factory.mktemp("text") / f"x{kind}"
    file.write_bytes(content.encode())
    try:
        assert read_series(file, NAMES).shape[1] == 3
    except ScanProblem as problem:
        assert str(problem).startswith(f"x{kind}: expected ")


def test_files_that_are_gone(tmp_path):
    for kind in (".tsv", ".npy", ".npz", ".h5"):
        with pytest.raises(ScanProblem, match=r"found no such file"):
            read_series(tmp_path / f"x{kind}", NAMES)


@pytest.mark.parametrize("kind", SERIES_ENDINGS)
@pytest.mark.parametrize("form", ["link", "text"])
def test_files_that_were_not_fetched(tmp_path, kind, form):
    file = tmp_path / f"x{kind}"
    if form == "link":
        file.symlink_to("../.git/annex/objects/nowhere")
    else:
        file.write_text("/annex/objects/MD5-s10--0\n")
    with pytest.raises(ScanProblem, match=f"^x{kind}: .*; fetch its content .datalad get., or rem"):
        read_series(file, NAMES)


def cohort_gradients(names: list[str]) -> np.ndarray:
    """Gradients of STAGES' cortex in 17-network order, read under the names given."""
    atlas = load_atlas()
    cortex = atlas.take(atlas.rois[50:])
    total = ConnectivitySum(cortex.rois)
    file = shared("data", "stages419", "stages_ses-1_419.npz")
    for part in scans_in(file):
        series = in_atlas_order(read_series(file, names, part).T, names, cortex)
        total.add_scan(series, missing=dead_rois(series))
    return diffusion_map(total.mean_fc(), 10).gradients


def test_names_bring_a_real_cohort_to_the_right_order_and_wrong_ones_do_not():
    published = np.loadtxt(shared("data", "gradients", "gradient_mapping_450.csv"), delimiter=",")
    subcortex = [f"subcortex {i}" for i in range(19)]
    likeness = []
    for names in (names_in_7network_order()[50:], load_atlas().rois[50:]):
        found = cohort_gradients([*names, *subcortex])[:, :5]
        likeness.append(canonical_correlations(found, published[50:, :5])[:3].mean())
    assert likeness[0] > 0.9 and likeness[1] < 0.7
