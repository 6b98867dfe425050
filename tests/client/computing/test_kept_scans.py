"""A site aligns each scan once for all its answers, within its policy, and forgets who leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_sites import ask, ask_round, first_arrays, make_site, make_study

from brainjepa_client.answering.site import Site
from brainjepa_client.consent.withdrawal import remove_person
from brainjepa_client.guarding.policy import GB
from brainjepa_client.guarding.sizes import StudySize
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.pretraining.site_sums.begun_sum import file_of
from brainjepa_core.signals import aligned_scans
from brainjepa_core.signals.storing.kept_aligned import ALIGNED
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, Reply, Request

# The cohort's scans have another TR.
STUDY = make_study().model_copy(update={"windows": WindowSettings(frames=16, tr=1.0)})


@pytest.fixture
def aligned(monkeypatch) -> list[tuple]:
    """The scans that were aligned, each time that one was."""
    found = []
    make = aligned_scans.AlignedScans._made

    def noted(self, store, record):
        found.append(record.key)
        return make(self, store, record)

    monkeypatch.setattr(aligned_scans.AlignedScans, "_made", noted)
    return found


def requests(stores: list[Path]) -> list[Request]:
    start = first_arrays(stores, STUDY)
    rounds = [ask_round(number, start, STUDY) for number in range(2)]
    return [ask(GRADIENTS, study=STUDY), *rounds, ask(EVALUATE, start, STUDY)]


def answers(site: Site, stores: list[Path]) -> list[Reply]:
    replies = [site.answer(request) for request in requests(stores)]
    assert [reply.refusal for reply in replies] == [""] * 4
    return replies


def files(site: Site) -> list[Path]:
    return sorted((site.settings.state / ALIGNED).rglob("*.f32"))


def require_same(found: list[Reply], expected: list[Reply]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.arrays.keys() == other.arrays.keys()
        for name, array in one.arrays.items():
            assert np.array_equal(array, other.arrays[name]), name


def test_each_scan_is_aligned_once_for_all_answers(stores, tmp_path, aligned):
    asked = requests(stores)
    aligned.clear()
    site = make_site(stores[0], tmp_path)
    assert all(not site.answer(request).refusal for request in asked)
    records = ScanStore.open(stores[0]).records
    assert sorted(aligned) == sorted(record.key for record in records)
    assert len(files(site)) == len(records)


def test_answers_are_the_same_without_room_and_the_disk_holds_nothing(stores, tmp_path, aligned):
    roomy = make_site(stores[0], tmp_path / "roomy")
    expected = answers(roomy, stores)
    size = StudySize.of(STUDY, 8).disk
    tight = make_site(stores[0], tmp_path / "tight", max_disk_gb=size / GB)
    require_same(answers(tight, stores), expected)
    assert files(tight) == []
    one = files(roomy)[0].stat().st_size
    little = make_site(stores[0], tmp_path / "little", max_disk_gb=(size + 2.5 * one) / GB)
    require_same(answers(little, stores), expected)
    assert len(files(little)) == 2


def test_a_person_who_withdraws_leaves_the_aligned_scans_and_their_sum(stores, tmp_path):
    own = shutil.copytree(stores[0], tmp_path / "store")
    site, store = make_site(own, tmp_path / "state"), ScanStore.open(own)
    answers(site, stores)
    names = {path.name for path in files(site)}
    person = store.records[0].subject
    scans = remove_person(site.settings, person).scans
    left = {path.name for path in files(site)}
    assert left < names and len(names - left) == scans > 0
    assert not list((site.settings.state / ALIGNED).rglob(file_of(ConnectivitySum)))
