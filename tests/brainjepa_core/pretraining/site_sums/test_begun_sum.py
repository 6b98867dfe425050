"""A sum by blocks: one result for any number of processes, and after a kill anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.pretraining.site_sums import basis, begun_sum
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.pretraining.site_sums.begun_sum import file_of
from brainjepa_core.pretraining.site_sums.coskewness import coskewness_sum
from brainjepa_core.signals.storing.kept_aligned import KeptAligned, forget_removed
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_core.sums.pairs import SumOverPairs

ATLAS = Atlas.from_names([f"r{i}" for i in range(7)])
PEOPLE = 150  # two whole blocks and a part of one


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ScanStore:
    store = ScanStore.create(tmp_path_factory.mktemp("sum") / "store", ATLAS)
    rng = np.random.default_rng(0)
    with store.writing():
        for person in range(PEOPLE):
            series = rng.standard_normal((7, 60)) + 0.4 * rng.standard_normal(60)
            if person % 7 == 3:
                series[person % 5] = np.nan
            store.append(series, subject=f"s{person:03d}", tr=(2.0, 0.8)[person % 2])
    return store


def windows_of(store: ScanStore, place: Path | None = None) -> Windows:
    kept = None if place is None else KeptAligned(place, 10**9)
    return Windows([store], WindowSettings(frames=20, tr=2.0), kept=kept)


def in_fixed_blocks(windows: Windows) -> dict[str, np.ndarray]:
    """By the definition: each 64 people from nothing, then these sums in order."""
    total = ConnectivitySum(windows.atlas.rois)
    for first in range(0, windows.subjects, 64):
        part = ConnectivitySum(windows.atlas.rois)
        for person in range(first, min(first + 64, windows.subjects)):
            ((series, valid),) = windows.aligned(person)
            part.add_scan(series, ~valid)
        total = total + part
    return total.to_arrays()


def third_in_fixed_blocks(windows: Windows) -> dict[str, np.ndarray]:
    """As `in_fixed_blocks`."""
    total = CoskewnessSum(windows.atlas.rois)
    for first in range(0, windows.subjects, 64):
        part = CoskewnessSum(windows.atlas.rois)
        for person in range(first, min(first + 64, windows.subjects)):
            ((series, valid),) = windows.aligned(person)
            part.add_subject([series], valid)
        total = total + part
    return total.to_arrays()


def require_same_bits(found: SumOverPairs, expected: dict[str, np.ndarray]) -> None:
    for name, array in found.to_arrays().items():
        assert np.array_equal(array, expected[name]), name


slow = pytest.mark.slow  # each process takes seconds to start


@pytest.mark.parametrize("processes", [1, 2, *(pytest.param(n, marks=slow) for n in (3, 8))])
def test_the_bits_do_not_follow_the_number_of_processes(store, processes):
    require_same_bits(
        connectivity_sum(windows_of(store), processes), in_fixed_blocks(windows_of(store))
    )


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=slow)])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_after_a_kill_it_goes_on_to_the_same_bits(store, tmp_path, monkeypatch, blocks, processes):
    monkeypatch.setattr(begun_sum, "EVERY", 0.0)
    left = iter([None] * (blocks - 1))

    def killed() -> None:
        try:
            next(left)
        except StopIteration:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        connectivity_sum(windows_of(store, tmp_path), processes, killed)
    again = []
    found = connectivity_sum(windows_of(store, tmp_path), processes, lambda: again.append(1))
    assert len(again) == 3 - blocks
    require_same_bits(found, in_fixed_blocks(windows_of(store)))


def test_of_co_skewness_too(store, tmp_path, monkeypatch):
    expected = third_in_fixed_blocks(windows_of(store))
    require_same_bits(coskewness_sum(windows_of(store), 2), expected)
    monkeypatch.setattr(begun_sum, "EVERY", 0.0)
    with pytest.raises(ZeroDivisionError):
        coskewness_sum(windows_of(store, tmp_path), 1, lambda: 1 / 0)
    connectivity_sum(windows_of(store, tmp_path))  # of another name
    again = []
    found = coskewness_sum(windows_of(store, tmp_path), 1, lambda: again.append(1))
    assert len(again) == 2
    require_same_bits(found, expected)


def test_asked_again_it_is_read_and_other_people_have_another(store, tmp_path, monkeypatch):
    windows = windows_of(store, tmp_path)
    first = connectivity_sum(windows)
    with monkeypatch.context() as patch:
        patch.setattr(basis, "_sum_of_block", None)  # nobody is added up again
        require_same_bits(connectivity_sum(windows_of(store, tmp_path)), first.to_arrays())
    some = windows.only(range(0, PEOPLE, 2))
    require_same_bits(connectivity_sum(some), in_fixed_blocks(some))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
def test_a_damaged_sum_is_made_anew(store, tmp_path, damage):
    connectivity_sum(windows_of(store, tmp_path))
    (path,) = tmp_path.glob(f"*/{file_of(ConnectivitySum)}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    require_same_bits(
        connectivity_sum(windows_of(store, tmp_path)), in_fixed_blocks(windows_of(store))
    )


def test_a_sum_with_somebody_who_left_the_store_is_gone(tmp_path):
    store = ScanStore.create(tmp_path / "store", ATLAS)
    rng = np.random.default_rng(1)
    for person in range(4):
        store.append(rng.standard_normal((7, 60)), subject=f"s{person}", tr=2.0)
    place = tmp_path / "aligned"
    connectivity_sum(windows_of(store, place))
    coskewness_sum(windows_of(store, place))
    assert len(list(place.glob("*/*-sum.npz"))) == 2
    store.remove([("s2", "", "")])
    forget_removed(place, store)
    assert not list(place.glob("*/*-sum.npz"))
    require_same_bits(
        connectivity_sum(windows_of(store, place)), in_fixed_blocks(windows_of(store))
    )
