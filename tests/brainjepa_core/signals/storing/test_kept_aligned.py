"""Aligned scans on disk: the same numbers, made once, and nothing of what has left the store."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.people import aligned_frames
from brainjepa_core.signals.storing import kept_aligned
from brainjepa_core.signals.storing.kept_aligned import KeptAligned, forget_removed
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

ATLAS = Atlas.from_names([f"r{i}" for i in range(6)])
SETTINGS = WindowSettings(frames=20, tr=2.0)
PLENTY = 10**9
OF_A_SCAN = 4 * 6 * 40 + 6 + 4  # bytes of 99 frames of 0.8 s, at 2 s


def make_store(path: Path, people: int = 5) -> ScanStore:
    store = ScanStore.create(path, ATLAS)
    for i in range(people):
        store.append(scan(i), subject=f"s{i}", tr=0.8)
    return store


def scan(seed: int) -> np.ndarray:
    series = np.random.default_rng(seed).standard_normal((6, 99)).astype(np.float32)
    if seed == 1:
        series[2] = np.nan
    return series


def windows_of(store: ScanStore, place: Path, limit: int = PLENTY, **changes) -> Windows:
    settings = SETTINGS.model_copy(update=changes)
    return Windows([store], settings, kept=KeptAligned(place, limit))


def read_all(windows: Windows) -> list:
    return [windows.aligned(person)[0] for person in range(windows.subjects)]


def files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.f32"))


def made(place: Path) -> set[tuple[str, str, int]]:
    """Files as they were made: by frames' settings, scan and time."""
    return {(p.parent.name[:32], p.name, p.stat().st_mtime_ns) for p in files(place)}


def require_equal(found: list, expected: list) -> None:
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype and not a.flags.writeable


@pytest.fixture
def store(tmp_path) -> ScanStore:
    return make_store(tmp_path / "store")


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "aligned"


@pytest.mark.parametrize("scaling", ["zscore", "pooled"])
@pytest.mark.parametrize("temporal", ["antialias", "official"])
def test_what_is_read_from_disk_has_the_bits_of_what_is_made(
    store, place, monkeypatch, scaling, temporal
):
    changes = {"scaling": scaling, "temporal": temporal}
    expected = read_all(Windows([store], SETTINGS.model_copy(update=changes)))
    require_equal(read_all(windows_of(store, place, **changes)), expected)
    assert len(files(place)) == 5
    again = windows_of(ScanStore.open(store.path), place, **changes)
    monkeypatch.setattr(ScanStore, "series", None)  # nothing is made anew
    require_equal(read_all(again), expected)


@pytest.mark.parametrize("change", ["window", "arithmetic", "version", "atlas"])
def test_what_files_are_made_from_decides_their_folder(store, place, monkeypatch, change):
    read_all(windows_of(store, place))
    frames_only = windows_of(store, place, frames=30)
    assert len(list(place.glob("*/room.json"))) == 1, "the length of windows does not matter"
    read_all(frames_only)
    if change == "arithmetic":
        monkeypatch.setattr(kept_aligned, "ARITHMETIC", -1)
    elif change == "version":
        monkeypatch.setattr(kept_aligned, "VERSION", "0.0.0")
    elif change == "atlas":
        store.atlas = Atlas.from_names([f"other{i}" for i in range(6)])
    read_all(windows_of(store, place, tr=1.0 if change == "window" else 2.0))
    assert len(files(place)) == 10 and len(list(place.glob("*/room.json"))) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros", "gone"])
def test_a_damaged_file_is_made_anew(store, place, damage):
    expected = read_all(windows_of(store, place))
    for path in files(place):
        content = bytearray(path.read_bytes())
        content[7] ^= 1
        damaged = {"cut": content[:-9], "flipped": content, "zeros": bytes(len(content))}
        path.unlink() if damage == "gone" else path.write_bytes(damaged[damage])
    require_equal(read_all(windows_of(store, place)), expected)
    whole = [path.read_bytes() for path in files(place)]
    assert len(whole) == 5 and all(any(content) for content in whole)


def test_what_leaves_the_store_leaves_the_disk_and_the_rest_stays(store, place, monkeypatch):
    read_all(windows_of(store, place))
    read_all(windows_of(store, place, tr=1.0))
    before = made(place)
    store.remove([("s3", "", "")])
    forget_removed(place, store)
    after = made(place)
    assert len(after) == 8 and after <= before
    monkeypatch.setattr(ScanStore, "series", None)
    assert len(read_all(windows_of(store, place))) == 4


def test_a_scan_that_joins_or_changes_is_made_and_the_rest_stays(store, place):
    read_all(windows_of(store, place))
    before = made(place)
    store.append(scan(10), subject="new", tr=0.8)
    store.append(scan(11), subject="s0", tr=0.8, replace=True)
    found = read_all(windows_of(store, place))
    after = made(place)
    assert len(after) == 6 and len(after & before) == 4
    require_equal(found, read_all(Windows([store], SETTINGS)))


def test_who_is_at_work_while_a_person_is_removed_brings_nothing_back(store, place, monkeypatch):
    arrays = {record.key: np.array(store.series(record)) for record in store.records}
    monkeypatch.setattr(ScanStore, "series", lambda _, record: arrays[record.key])  # read before
    at_work = windows_of(store, place)
    at_work.aligned(0)
    other = ScanStore.open(store.path)
    other.remove([("s0", "", ""), ("s3", "", "")])
    forget_removed(place, other)
    assert len(read_all(at_work)) == 5  # it goes on with what it knows
    assert files(place) == []
    late = Windows([store], SETTINGS, kept=KeptAligned(place, PLENTY))  # of before the removal
    read_all(late)
    assert files(place) == []


def test_what_is_written_amid_the_removal_goes_too(store, place, monkeypatch):
    read_all(windows_of(store, place))
    arrays = {record.key: np.array(store.series(record)) for record in store.records}
    monkeypatch.setattr(ScanStore, "series", lambda _, record: arrays[record.key])
    at_work, prune = windows_of(store, place), kept_aligned._remove_all_but

    def prune_while_somebody_writes(folder, names):
        prune(folder, names)
        read_all(at_work)

    monkeypatch.setattr(kept_aligned, "_remove_all_but", prune_while_somebody_writes)
    other = ScanStore.open(store.path)
    other.remove([("s0", "", "")])
    forget_removed(place, other)
    assert len(files(place)) == 4


@pytest.mark.parametrize("killed_at", ["renamed", "pruned"])
def test_a_kill_amid_the_removal_leaves_nothing_that_is_used(store, place, monkeypatch, killed_at):
    read_all(windows_of(store, place))
    store.remove([("s3", "", "")])
    prune = kept_aligned._remove_all_but

    def killed(folder, names):
        if killed_at == "pruned":
            prune(folder, names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kept_aligned, "_remove_all_but", killed)
        forget_removed(place, store)
    read_all(windows_of(store, place))
    assert len(files(place)) == 4 and len(list(place.iterdir())) == 2  # a folder and the lock


@pytest.mark.parametrize(("scans", "kept"), [(0, 0), (2, 2), (2.9, 2), (5, 5)])
def test_the_disk_holds_no_more_than_it_may(store, place, scans, kept):
    limit = int(scans * OF_A_SCAN)
    for _ in range(2):
        require_equal(
            read_all(windows_of(store, place, limit)), read_all(Windows([store], SETTINGS))
        )
        assert len(files(place)) == kept
        assert sum(path.stat().st_size for path in files(place)) <= limit


def test_what_was_not_used_for_longest_makes_room(store, place):
    for tr in (2.0, 3.0, 2.0, 2.5):  # 40, 27, 40 and 32 frames
        read_all(windows_of(store, place, 5 * (4 * 6 * 72 + 20), tr=tr))
    frames = {(path.stat().st_size - 10) // 24 for path in files(place)}
    assert len(files(place)) == 10 and frames == {40, 32}


def test_a_smaller_limit_takes_scans_away(store, place):
    read_all(windows_of(store, place))
    windows_of(store, place, 2 * OF_A_SCAN)
    assert len(files(place)) == 2


def test_other_people_of_one_kind_of_settings_share_the_room(store, place):
    """Each would fit by itself; both do not."""
    for records in (store.records[:3], store.records[3:]):
        here = with_frames(store, records)
        kept = KeptAligned(place, 3 * OF_A_SCAN).of(store, SETTINGS, None, here)
        for record, frames in here:
            kept.write(record, np.zeros((6, frames), np.float32), np.ones(6, bool))
        assert sum(path.stat().st_size for path in files(place)) <= 3 * OF_A_SCAN
    assert len(files(place)) == 2


def with_frames(store: ScanStore, records: Sequence[ScanRecord]) -> list[tuple[ScanRecord, int]]:
    return [(record, aligned_frames(record, SETTINGS)) for record in records]


def test_a_place_is_of_one_store(tmp_path, store, place):
    both = [store, make_store(tmp_path / "other")]
    with pytest.raises(ValueError, match="one store whose aligned scans are kept on disk, found 2"):
        Windows(both, SETTINGS, kept=KeptAligned(place, PLENTY))


@pytest.mark.parametrize("gone", ["folder", "place"])
@pytest.mark.parametrize("asked", ["forget", "read"])
def test_what_somebody_removes_while_it_is_looked_at_is_no_error(
    store, place, monkeypatch, gone, asked
):
    """As a site does that leaves a contract."""
    read_all(windows_of(store, place))
    read_all(windows_of(store, place, tr=1.0))
    store.remove([("s3", "", "")])
    listed = kept_aligned._folders

    def removed_meanwhile(of_place):
        found = list(listed(of_place))
        shutil.rmtree(place if gone == "place" else found[0][0], ignore_errors=True)
        return iter(found)

    monkeypatch.setattr(kept_aligned, "_folders", removed_meanwhile)
    if asked == "forget":
        forget_removed(place, store)
    else:
        found = read_all(windows_of(store, place))
        require_equal(found, read_all(Windows([store], SETTINGS)))
    assert not list(place.glob("*-changing"))


def test_a_folder_that_makes_room_takes_nothing_in_meanwhile(store, place, monkeypatch):
    """What comes in between the look into a folder and its removal would keep it there."""
    at_work, remove = windows_of(store, place), shutil.rmtree

    def while_somebody_writes(folder, **options):
        before = set(folder.glob("*"))
        read_all(at_work)
        assert set(folder.glob("*")) == before
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", while_somebody_writes)
    windows_of(store, place, 5 * OF_A_SCAN, tr=1.0)
    assert len(list(place.glob("*/room.json"))) == 1


@pytest.mark.parametrize("lost", ["folder", "room"])
def test_a_folder_that_is_gone_or_a_full_disk_keeps_no_window_back(store, place, monkeypatch, lost):
    windows = windows_of(store, place)
    if lost == "folder":
        shutil.rmtree(place)
    else:
        monkeypatch.setattr(os, "replace", full_disk)
    require_equal(read_all(windows), read_all(Windows([store], SETTINGS)))
    assert list(place.rglob("*.f32*")) == []  # nor anything half-written


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space left")


def test_names_say_nothing_of_people(store, place):
    read_all(windows_of(store, place))
    names = " ".join(path.name for path in place.rglob("*"))
    content = [json.loads(path.read_text()) for path in place.rglob("room.json")]
    assert not any(f"s{i}" in names for i in range(5)) and content == [{"bytes": 5 * OF_A_SCAN}]


WORK = """
import sys
from pathlib import Path
from brainjepa_core.signals.storing.kept_aligned import KeptAligned
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
store, place = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
while True:
    windows = Windows([ScanStore.open(store)], WindowSettings(frames=20, tr=2.0),
                      cache_bytes=1, kept=KeptAligned(Path(place), 10**9))
    for person in range(windows.subjects):
        windows.aligned(person)
    print("round", flush=True)
"""


def test_two_processes_and_a_kill_leave_whole_files(store, place):
    command = [sys.executable, "-c", WORK, str(store.path), str(place)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    try:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout.readline() == "round\n"
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait()
        assert workers[1].stdout.readline() == "round\n"
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    found = read_all(windows_of(ScanStore.open(store.path), place))
    require_equal(found, read_all(Windows([store], SETTINGS)))
    assert len(files(place)) == 5
