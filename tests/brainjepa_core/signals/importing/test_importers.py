"""Imports: what sites have, damaged or out of order, ends in a sound store or a clear refusal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shared_data import shared

from brainjepa_core.atlas import Atlas, load_atlas, names_in_7network_order
from brainjepa_core.signals.importing.importers import import_directory, import_site_archive
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ARRAYS, ScanStore
from brainjepa_core.signals.storing.vectors import import_vectors, vectors_of_store
from brainjepa_core.signals.tables.roi_names import in_atlas_order
from brainjepa_core.signals.tables.series_files import read_series

NAMES = ["a", "b", "c"]
LENGTHS = [12, 20, 9]


def parts(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sound = {
        "ts": rng.standard_normal((sum(LENGTHS), 3)).astype(np.float16),
        "lengths": np.array(LENGTHS, np.int32),
        "participant_id": np.array(["p1", "p2", "p3"]),
        "tr": np.float32(2.5),
        "roi": np.array(NAMES),
    }
    return {**sound, **changes}


def archive(folder: Path, **changes: Any) -> Path:
    np.savez_compressed(folder / "site.npz", **parts(**changes))
    return folder / "site.npz"


def sound_or_absent(path: Path) -> int:
    """Scans in a store that, whatever happened, is either not there or without damage."""
    if not path.exists():
        return 0
    store = ScanStore.open(path)
    assert store.verify() == [] and len(list((path / ARRAYS).iterdir())) == len(store.records)
    return len(store.records)


def test_archive_becomes_a_store(tmp_path):
    people = tmp_path / "participants.tsv"
    people.write_text("participant_id\tage\tsex\tmean_fd\np1\t10.5\tM\t0.03\np3\tn/a\tF\tlow\n")
    store = import_site_archive(archive(tmp_path), tmp_path / "store", people)
    assert [r.subject for r in store.records] == ["p1", "p2", "p3"]
    assert [r.frames for r in store.records] == LENGTHS
    assert store.records[0].phenotypes == {"age": 10.5, "sex": "M", "mean_fd": 0.03}
    assert [r.qc for r in store.records] == [{"mean_fd": 0.03}, {}, {}]
    assert [r.phenotypes for r in store.records[1:]] == [{}, {"sex": "F", "mean_fd": "low"}]
    expected = np.split(parts()["ts"], np.cumsum(LENGTHS)[:-1])
    for record, series in zip(store.records, expected, strict=True):
        assert np.array_equal(store.series(record), series.T.astype(np.float32))
        assert record.tr == 2.5


def test_importing_twice_changes_nothing(tmp_path):
    store = import_site_archive(archive(tmp_path), tmp_path / "store")
    before = (tmp_path / "store" / TABLE).read_bytes()
    again = import_site_archive(archive(tmp_path), tmp_path / "store")
    assert again.fingerprint == store.fingerprint and again.records == store.records
    assert (tmp_path / "store" / TABLE).read_bytes() == before


def test_abide_comes_back_as_it_was(tmp_path):
    folder = shared("data", "abide")
    site = folder / "STANFORD.npz"  # lengths differ
    store = import_site_archive(site, tmp_path / "store", folder / "participants.tsv")
    with np.load(site) as raw:
        ends = np.cumsum(raw["lengths"])[:-1]
        for record, series in zip(store.records, np.split(raw["ts"], ends), strict=True):
            assert np.array_equal(store.series(record), series.T.astype(np.float32))
            assert record.tr == float(raw["tr"])
        assert [r.subject for r in store.records] == raw["participant_id"].tolist()
        assert store.atlas.rois == tuple(raw["roi"].tolist())
    assert all(r.qc["mean_fd"] < 0.25 and r.phenotypes["age"] > 5 for r in store.records)
    assert {r.phenotypes["diagnosis"] for r in store.records} == {"ASD", "TC"}
    assert store.verify() == []


def test_rois_are_mapped_by_name(tmp_path):
    atlas = Atlas.from_names(["c", "elsewhere", "a"])
    store = import_site_archive(archive(tmp_path), tmp_path / "store", atlas=atlas)
    series = store.series(store.records[0])
    ts = parts()["ts"][:12].T.astype(np.float32)
    assert np.array_equal(series[[0, 2]], ts[[2, 0]]) and np.isnan(series[1]).all()
    assert store.records[0].missing == ("elsewhere",)
    with pytest.raises(ValueError, match="names of atlas 'named list' such as x, found a, b, c"):
        import_site_archive(archive(tmp_path), tmp_path / "new", atlas=Atlas.from_names(["x"]))
    assert sound_or_absent(tmp_path / "new") == 0


def test_7network_names_find_their_17network_parcels():
    atlas = load_atlas()
    foreign = [name.replace("17Networks", "17Networks") for name in names_in_7network_order()]
    series = np.arange(450.0)[:, None] * np.ones(3)
    by_17 = in_atlas_order(series, foreign, atlas)
    label_file = shared(
        "data", "atlases", "Schaefer2018_400Parcels_7Networks_order_Tian_Subcortex_S3_label.txt"
    )
    by_7 = in_atlas_order(series, label_file.read_text().splitlines()[::2], atlas)
    assert np.array_equal(by_7, by_17) and np.isfinite(by_7).all()
    own = Atlas.from_names(["7Networks_LH_Vis_1", "7Networks_LH_Vis_2"])  # an atlas of those names
    assert in_atlas_order(series[:2], own.rois[::-1], own)[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"tr": np.array([2.0, 2.5, 3.0])},
        {"tr": np.array([2])},
        {"participant_id": np.array([b"p1", b"p2", b"p3"]), "roi": np.array([b"a", b"b", b"c"])},
        {"participant_id": np.array([50002, 50003, 50004]), "ts": parts()["ts"].astype(np.float64)},
    ],
)
def test_variants_that_are_understood(tmp_path, changes):
    store = import_site_archive(archive(tmp_path, **changes), tmp_path / "store")
    assert len(store.records) == 3 and store.atlas.rois == ("a", "b", "c")
    if "tr" in changes:
        assert [r.tr for r in store.records] == np.broadcast_to(changes["tr"], 3).tolist()


FITS = "expected ts .sum of lengths, ROIs., one participant_id a length"
ONCE = "expected each participant once and TRs in seconds above 0"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"ts": np.zeros((40, 3))}, FITS),
        ({"ts": np.zeros(41)}, FITS),
        ({"ts": np.zeros((41, 3), int)}, FITS),
        ({"lengths": np.array([12.0, 20.0, 9.0])}, FITS),
        ({"lengths": np.array([-1, 33, 9])}, FITS),
        ({"lengths": np.array([2**63, 2**63, 41], np.uint64)}, FITS),
        ({"lengths": np.array([], int)}, FITS),
        ({"participant_id": np.array(["p1", "p2"])}, FITS),
        ({"roi": np.array(["a", "b"])}, FITS),
        ({"tr": np.array([2.0, 2.0])}, FITS),
        ({"tr": np.array(["2.0"])}, FITS),
        ({"tr": np.array(2 + 0j)}, FITS),
        ({"tr": np.array([2.0, 0.0, 2.0])}, ONCE + r".* TRs from 0 to 2"),
        ({"tr": np.array(np.nan)}, ONCE),
        ({"participant_id": np.array(["p1", "p2", "p1"])}, ONCE + ", found 1 repeated"),
        ({"roi": np.array(["a", "b", "a"])}, "non-empty and different, found repeated: a"),
        ({"roi": np.array(["a", "b", None])}, r"expected a site archive \(.npz with ts, lengths"),
    ],
)
def test_parts_that_do_not_fit_leave_nothing_behind(tmp_path, changes, error):
    with pytest.raises(ValueError, match=error):
        import_site_archive(archive(tmp_path, **changes), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_missing_parts_are_named(tmp_path):
    np.savez(tmp_path / "site.npz", ts=np.zeros((2, 2)), lengths=[2], roi=["a", "b"])
    with pytest.raises(ValueError, match="in the archive, found no participant_id, tr; give"):
        import_site_archive(tmp_path / "site.npz", tmp_path / "store")


def test_a_bad_scan_stops_the_import_which_can_be_repeated(tmp_path):
    ts = parts()["ts"].copy()
    ts[15, 1] = np.inf  # float16 overflows at 65504
    with pytest.raises(ValueError, match="found gaps in b; interpolate the fr"):
        import_site_archive(archive(tmp_path, ts=ts), tmp_path / "store")
    assert sound_or_absent(tmp_path / "store") == 1
    store = import_site_archive(archive(tmp_path), tmp_path / "store")
    assert len(store.records) == 3 and store.verify() == []


def test_unusable_scans_are_left_out_and_named_and_the_others_go_on(tmp_path):
    ts = parts()["ts"].copy()
    ts[12:32, 1:] = 7  # one ROI is left of the second scan
    lengths = np.array([*LENGTHS[:2], 2], np.int32)
    said: list[str] = []
    site = archive(tmp_path, ts=ts[:34], lengths=lengths)
    store = import_site_archive(site, tmp_path / "store", say=said.append)
    assert [record.subject for record in store.records] == ["p1"]
    assert said == [
        "left out p2: expected a scan of at least 3 frames and 2 ROIs with a signal, found 20 "
        "frames and 1 such ROIs; leave it out, or check its extraction",
        "left out p3: site.npz: expected at least 3 frames, found 2; check the export of this scan",
    ]


def test_vectors_leave_with_scans_that_became_unusable(tmp_path):
    store = import_site_archive(archive(tmp_path), tmp_path / "store")
    (tmp_path / "t1.csv").write_text("participant_id,x\np1,1\np2,2\n")
    import_vectors(store, "t1", tmp_path / "t1.csv")
    ts = parts()["ts"].copy()
    ts[12:32, 1:] = 7  # one ROI is left of the second scan
    import_site_archive(archive(tmp_path, ts=ts), tmp_path / "store")
    assert vectors_of_store(tmp_path / "store")["t1"].subjects == ("p1",)


def test_people_are_joined_and_levels_decoded_as_in_prepare(tmp_path):
    people = tmp_path / "participants.tsv"
    people.write_text("participant_id\tsex\tage\nsub-p1\t1\tNA\nsub-p2\t2\t30\nsub-x\t1\t3\n")
    people.with_suffix(".json").write_text('{"sex": {"Levels": {"1": "male", "2": "female"}}}')
    said: list[str] = []
    store = import_site_archive(archive(tmp_path), tmp_path / "store", people, say=said.append)
    found = [record.phenotypes for record in store.records]
    assert found == [{"sex": "male"}, {"sex": "female", "age": 30.0}, {}]
    assert said == [
        "1 person has no row of phenotypes, such as 'p3'",
        "1 person of the tables has no scan, such as 'x'",
    ]


def test_scans_that_entities_tell_apart_are_two_and_all_endings_are_read(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    (tmp_path / "names.txt").write_text("\ufeffa\nb\nc\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for direction in ("AP", "PA"):
        name = f"sub-01_task-rest_dir-{direction}_run-1_timeseries.tsv.gz"
        np.savetxt(scans / name, rng.standard_normal((9, 3)), delimiter="\t")
    np.savetxt(scans / "sub-02_x.1D", rng.standard_normal((9, 3)))
    (scans / "people.tsv").write_text("participant_id\tage\n02\t44\n")  # no scan
    store = import_directory(
        scans, tmp_path / "names.txt", tmp_path / "store", 2.0, scans / "people.tsv"
    )
    assert [record.key for record in store.records] == [
        ("sub-01", "", "task-rest_dir-AP_run-1"),
        ("sub-01", "", "task-rest_dir-PA_run-1"),
        ("sub-02", "", ""),
    ]
    assert store.atlas.rois == ("a", "b", "c")
    assert [record.phenotypes for record in store.records] == [{}, {}, {"age": 44.0}]


def damaged() -> st.SearchStrategy[bytes]:
    """A sound archive with bytes changed or cut off, or none at all."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **parts())
    whole = stream.getvalue()

    def flip(changes: list[tuple[int, int]]) -> bytes:
        raw = bytearray(whole)
        for place, value in changes:
            raw[place] = value
        return bytes(raw)

    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    return (
        st.lists(places, min_size=1, max_size=8).map(flip)
        | st.integers(0, len(whole)).map(lambda end: whole[:end])
        | st.binary(max_size=80)
    )


@given(damaged())
@example(b"")
@example(b"\x93NUMPY")
def test_damaged_archives_raise_nothing_but_value_errors(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("import")
    (folder / "site.npz").write_bytes(content)
    try:
        store = import_site_archive(folder / "site.npz", folder / "store")
        assert len(store.records) == 3  # bytes that nobody reads
    except ValueError as error:
        assert "expected" in str(error) and str(folder) not in str(error)
    assert sound_or_absent(folder / "store") in (0, 3)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: hnp.arrays(
                st.sampled_from([np.float32, np.int64, np.bool_, "U3", "S2", np.complex64]),
                hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            )
            for key in ("ts", "lengths", "participant_id", "tr", "roi")
        },
    )
)
def test_archives_of_anything_raise_nothing_but_value_errors(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("import")
    try:
        import_site_archive(archive(folder, **changes), folder / "store")
    except ValueError as error:
        assert "expected" in str(error)
    sound_or_absent(folder / "store")


def directory(folder: Path) -> tuple[Path, Path]:
    """A folder of three scans of three kinds, and its list of names."""
    scans = folder / "scans"
    scans.mkdir()
    (folder / "names.txt").write_text("a\nb\n\nc\n")
    rng = np.random.default_rng(0)
    stem = "sub-01_ses-2_task-rest_run-1_timeseries"
    np.savetxt(scans / f"{stem}.tsv", rng.standard_normal((9, 3)), delimiter="\t")
    rows = [",".join(map(str, row)) for row in rng.standard_normal((5, 2))]
    (scans / "alone.csv").write_text("a,b,c\n" + "".join(f"{row},n/a\n" for row in rows) + "\n")
    np.save(scans / "sub-02_bold.npy", rng.standard_normal((7, 3)))
    (scans / "notes.txt").write_text("not a scan")
    return scans, folder / "names.txt"


def test_folder_becomes_a_store(tmp_path):
    scans, names = directory(tmp_path)
    people = scans / "participants.tsv"  # no scan, though it lies among them
    people.write_text("participant_id\tage\nsub-01\t33\nalone\t44\n")
    store = import_directory(scans, names, tmp_path / "store", 0.8, people)
    found = [(r.key, r.frames, r.missing, r.phenotypes) for r in store.records]
    assert found == [
        (("alone", "", ""), 5, ("c",), {"age": 44.0}),
        (("sub-01", "2", "task-rest_run-1"), 9, (), {"age": 33.0}),
        (("sub-02", "", ""), 7, (), {}),
    ]
    expected = np.load(scans / "sub-02_bold.npy").T.astype(np.float32)
    assert np.array_equal(store.series(store.records[2]), expected)
    assert {r.tr for r in store.records} == {0.8} and store.atlas.name == "names"
    before = (tmp_path / "store" / TABLE).read_bytes()
    import_directory(scans, names, tmp_path / "store", 0.8, people)
    assert (tmp_path / "store" / TABLE).read_bytes() == before


def test_folder_refusals_name_the_file(tmp_path):
    scans, names = directory(tmp_path)
    np.save(scans / "sub-03.npy", np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"sub-03.npy: expected 3 columns, one a name, found"):
        import_directory(scans, names, tmp_path / "store", 2.0)
    np.save(scans / "sub-03.npy", np.array([[1, 2, 3], [np.nan, 4, 5], [6, 8, 9], [7, 3, 1]]))
    with pytest.raises(ValueError, match=r"sub-03.npy: expected finite numbers.* gaps in a;"):
        import_directory(scans, names, tmp_path / "store", 2.0)
    assert sound_or_absent(tmp_path / "store") == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"scans ending in .tsv, .csv, .* found none"):
        import_directory(tmp_path / "empty", names, tmp_path / "other", 2.0)


@given(
    st.sampled_from([".tsv", ".csv", ".npy"]),
    st.binary(max_size=60) | st.text("0123456789.,\t\n-ena/\"'\x00 ", max_size=60).map(str.encode),
)
@example(".npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9")
@example(".tsv", b"1\t2\n3\n")
@example(".csv", b"\x00")
def test_garbage_for_a_scan_raises_nothing_but_value_errors(tmp_path_factory, ending, content):
    file = tmp_path_factory.mktemp("scan") / f"scan{ending}"
    file.write_bytes(content)
    try:
        assert read_series(file, ["a", "b"]).shape[1] == 2
    except ValueError as error:
        assert str(error).startswith(f"scan{ending}: expected")


@pytest.mark.parametrize("bad", [np.zeros((3, 2), complex), np.array([["1", "2"]]), np.zeros(2)])
def test_arrays_that_are_no_numbers(tmp_path, bad):
    np.save(tmp_path / "x.npy", bad)
    with pytest.raises(
        ValueError, match=r"x.npy: expected an array \[frames, ROIs\] a scan, found"
    ):
        read_series(tmp_path / "x.npy", ["a", "b"])
