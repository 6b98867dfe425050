"""Scan stores: what goes in comes out, and what is damaged or does not belong is refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.storing.scan_arrays import array_path
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ARRAYS, ScanStore
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.usable import live_rois

ATLAS = Atlas.from_names(["a", "b", "c"])


def scan(seed: int = 0, frames: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, frames)).astype(np.float32)


def filled(path: Path, scans: int = 3) -> ScanStore:
    store = ScanStore.create(path, ATLAS)
    for i in range(scans):
        store.append(scan(i), subject=f"s{i}", tr=2.0)
    return store


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(3, 30)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ).filter(lambda x: live_rois(x).sum() > 1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.floats(0.1, 20),
    st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text()),
)
def test_what_goes_in_comes_out(tmp_path_factory, series, subject, run, tr, facts):
    path = tmp_path_factory.mktemp("store")
    store = ScanStore.create(path, ATLAS)
    assert store.append(series, subject=subject, run=run, tr=tr, phenotypes=facts, qc={"fd": 0.1})
    reopened = ScanStore.open(path)
    (record,) = reopened.records
    assert record == store.records[0]
    assert (record.subject, record.run, record.tr, record.phenotypes) == (subject, run, tr, facts)
    assert record.frames == series.shape[1]
    assert np.array_equal(reopened.series(record), series)
    assert reopened.verify() == []
    assert reopened.fingerprint == store.fingerprint


def test_atlas_comes_back_whole(tmp_path):
    ScanStore.create(tmp_path, load_atlas())
    assert ScanStore.open(tmp_path).atlas == load_atlas()


def test_series_are_mapped_read_only(tmp_path):
    store = filled(tmp_path, 1)
    series = store.series(store.records[0])
    assert isinstance(series, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        series[0, 0] = 1


def test_missing_rois_are_named(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    series = scan()
    series[1] = np.nan
    store.append(series, subject="s", tr=2)
    assert ScanStore.open(tmp_path).records[0].missing == ("b",)
    np.testing.assert_array_equal(store.series(store.records[0]), series)


@pytest.mark.parametrize("dead", [0.0, 5.0, "weak"])
def test_rois_without_a_signal_are_recorded_as_missing_and_kept_as_they_are(tmp_path, dead):
    store = ScanStore.create(tmp_path, ATLAS)
    series = scan()
    series[2] = 0.03 * series[2] if dead == "weak" else dead
    store.append(series, subject="s", tr=2)
    (record,) = ScanStore.open(tmp_path).records
    assert record.missing == ("c",)
    assert np.array_equal(store.series(record), series)


def test_numbers_of_numpy_are_stored_as_numbers(tmp_path):
    store = ScanStore.create(tmp_path, ATLAS)
    facts = {"age": np.float32(0.5), "group": np.int64(3)}
    store.append(scan(), subject="s", tr=np.float64(2), phenotypes=facts)
    assert ScanStore.open(tmp_path).records[0].phenotypes == {"age": 0.5, "group": 3}
    with pytest.raises(ValueError, match="expected text or numbers in qc and phenotypes"):
        store.append(scan(1), subject="t", tr=2.0, phenotypes={"brain": np.zeros(2)})
    assert len(list((tmp_path / ARRAYS).iterdir())) == 1


def test_appending_again_changes_nothing(tmp_path):
    store = filled(tmp_path)
    before = (tmp_path / TABLE).read_bytes()
    assert not store.append(scan(1), subject="s1", tr=2.0)
    assert not ScanStore.open(tmp_path).append(scan(1), subject="s1", tr=2.0)
    assert (tmp_path / TABLE).read_bytes() == before
    assert store.append(scan(1), subject="s1", tr=2.0, run="2")


@pytest.mark.parametrize(("seed", "tr"), [(9, 2.0), (1, 2.5)])
def test_another_scan_of_the_same_name_is_refused(tmp_path, seed, tr):
    store = filled(tmp_path)
    with pytest.raises(ValueError, match="another array or TR under the same subject, session and"):
        store.append(scan(seed), subject="s1", tr=tr)
    assert store.verify() == [] and np.array_equal(store.series(store.records[1]), scan(1))


def test_another_atlas_is_refused(tmp_path):
    store = filled(tmp_path)
    assert ScanStore.create(tmp_path, ATLAS).fingerprint == store.fingerprint
    with pytest.raises(ValueError, match=r"'other' \(2 ROIs\), found one of 'named list' \(3 RO"):
        ScanStore.create(tmp_path, Atlas.from_names(["a", "b"], "other"))


@pytest.mark.parametrize("tail", [b'{"subject": "s3", "tr', b"\xff\xfe", b"{}"])
def test_torn_last_line_is_left_out_and_cut_off_by_the_next_scan(tmp_path, tail):
    before = filled(tmp_path).fingerprint
    with (tmp_path / TABLE).open("ab") as file:
        file.write(tail)
    store = ScanStore.open(tmp_path)
    assert store.fingerprint == before
    assert (tmp_path / TABLE).read_bytes().endswith(tail)  # it may be another import's
    assert store.append(scan(3), subject="s3", tr=2.0)
    assert ScanStore.open(tmp_path).records == store.records
    assert len(store.records) == (tmp_path / TABLE).read_bytes().count(b"\n") == 4


def test_array_without_a_line_is_ignored_and_replaced(tmp_path):
    store = filled(tmp_path)
    lines = (tmp_path / TABLE).read_bytes().splitlines(keepends=True)
    (tmp_path / TABLE).write_bytes(b"".join(lines[:-1]))
    reopened = ScanStore.open(tmp_path)
    assert len(reopened.records) == 2 and reopened.verify() == []
    assert reopened.append(scan(2), subject="s2", tr=2.0)
    assert reopened.fingerprint == store.fingerprint


def test_two_imports_at_once_lose_no_scan(tmp_path):
    stores = [ScanStore.create(tmp_path, ATLAS) for _ in range(2)]

    def add(which: int) -> None:
        for i in range(20):
            stores[which].append(scan(i), subject=f"site{which}-{i}", tr=2.0)

    threads = [threading.Thread(target=add, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = ScanStore.open(tmp_path)
    assert len(store.records) == 40 and store.verify() == []


@pytest.mark.parametrize("damage", ["bit", "shorter", "empty", "gone"])
def test_verify_finds_damage(tmp_path, damage):
    store = filled(tmp_path)
    array = array_path(store.path, store.records[1])
    raw = bytearray(array.read_bytes())
    if damage == "bit":
        raw[-5] ^= 1
    array.write_bytes({"shorter": raw[:-8], "empty": b""}.get(damage, raw))
    if damage == "gone":
        array.unlink()
    assert store.verify() == [store.records[1]]
    if damage != "bit":
        with pytest.raises(ValueError, match="expected the array of each scan in scans/, found"):
            store.series(store.records[1])


def test_fingerprint_follows_content_not_order(tmp_path):
    def build(name: str, order: list[int], changed: float = 0.0, tr: float = 2.0) -> str:
        store = ScanStore.create(tmp_path / name, ATLAS)
        for i in order:
            series = scan(i)
            series[0, 0] += changed
            store.append(series, subject=f"s{i}", tr=tr)
        return store.fingerprint

    first = build("first", [0, 1, 2])
    assert build("reversed", [2, 1, 0]) == first
    others = {build("fewer", [0, 1]), build("value", [0, 1, 2], 1e-3), build("tr", [0, 1, 2], tr=3)}
    assert len(others | {first}) == 4
    assert ScanStore.create(tmp_path / "e", ATLAS.take(["b", "a"])).fingerprint not in others


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["format", "name", "rois", "networks", "hemispheres", "centroids"])
            | st.sampled_from(["subject", "tr", "frames", "sha256", "missing"]),
            inner,
        )
    ),
    max_leaves=12,
)
garbage = st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())


@given(garbage)
def test_garbage_for_a_header_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("store")
    (path / HEADER).write_bytes(content)
    with pytest.raises(
        ValueError, match=r"expected (a scan store with a readable|scan store form)"
    ):
        ScanStore.open(path)


@given(garbage)
def test_garbage_for_a_table_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("store")
    filled(path, 1)
    with (path / TABLE).open("ab") as file:
        file.write(content.replace(b"\n", b"") + b"\n")
    with pytest.raises(ValueError, match=r"expected a scan's facts in line 2 of scans.jsonl"):
        ScanStore.open(path)


def test_other_formats_and_folders_are_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"store.json, found no such file in '.*'; correct the path",
    ):
        ScanStore.open(tmp_path)
    filled(tmp_path)
    header = json.loads((tmp_path / HEADER).read_text())
    (tmp_path / HEADER).write_text(json.dumps({**header, "format": 7}))
    with pytest.raises(ValueError, match="expected scan store format 2, found 7"):
        ScanStore.open(tmp_path)


UNUSABLE = "expected a scan of at least 3 frames and 2 ROIs with a signal, found "


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda x: x[:2],
            r"expected a series \[3 ROIs, frames\], found shape \[2, 20\]",
        ),
        (lambda x: x[:, :0], f"{UNUSABLE}0 frames and 0 such ROIs"),
        (lambda x: x[:, :1], f"{UNUSABLE}1 frames and 0 such ROIs"),
        (lambda x: x[:, :2], f"{UNUSABLE}2 frames and 3 such ROIs"),
        (lambda x: x[0], r"found shape \[20\]"),
        (lambda x: np.where(np.eye(3, 20) > 0, np.nan, x), "some NaN or infinity in a, b, c;"),
        (lambda x: np.where(np.eye(3, 20, -1) > 0, np.inf, x), "some NaN or infinity in b, c;"),
        (lambda x: x * np.nan, f"{UNUSABLE}20 frames and 0 such ROIs"),
        (lambda x: np.ones_like(x), f"{UNUSABLE}20 frames and 0 such ROIs"),
        (lambda x: x * np.array([[0], [1], [0]]), f"{UNUSABLE}20 frames and 1 such ROIs"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, change, error):
    store = ScanStore.create(tmp_path, ATLAS)
    with pytest.raises(ValueError, match=error):
        store.append(change(scan()), subject="s", tr=2.0)
    assert ScanStore.open(tmp_path).records == () and not list((tmp_path / ARRAYS).iterdir())


@pytest.mark.parametrize(
    ("subject", "tr", "error"),
    [("s", 0, "seconds, found 0;"), ("s", np.nan, "found nan"), ("", 2, "a subject, found none")],
)
def test_scans_need_a_name_and_a_tr(tmp_path, subject, tr, error):
    with pytest.raises(ValueError, match=error):
        ScanStore.create(tmp_path, ATLAS).append(scan(), subject=subject, tr=tr)
