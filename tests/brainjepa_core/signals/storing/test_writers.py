"""Several writers of one store, and people who have been taken out of it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from child_process import environment

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_table import TABLE
from brainjepa_core.signals.storing.store import ARRAYS, ScanStore
from brainjepa_core.signals.storing.withdrawn import WITHDRAWN, Fingerprint, WithdrawnPerson

ATLAS = Atlas.from_names(["a", "b", "c"])


def series(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, 8)).astype("f4")


def filled(path, people: int = 3) -> ScanStore:
    store = ScanStore.create(path, ATLAS)
    for number in range(people):
        store.append(series(number), subject=f"sub-{number}", tr=2.0)
    return store


def test_writers_see_what_others_did(tmp_path):
    one = filled(tmp_path / "store")
    other = ScanStore.open(tmp_path / "store")
    one.append(series(9), subject="sub-9", tr=2.0)
    assert not other.append(series(9), subject="sub-9", tr=2.0)  # there already, and seen
    other.remove([("sub-0", "", "")])
    assert one.append(series(0), subject="sub-0", tr=2.0)
    lines = (tmp_path / "store" / TABLE).read_text().splitlines()
    assert sorted(json.loads(line)["subject"] for line in lines) == [
        "sub-0", "sub-1", "sub-2", "sub-9"
    ]  # fmt: skip
    assert ScanStore.open(tmp_path / "store").verify() == []


WRITER = """
import sys
import numpy as np
from brainjepa_core.signals.storing.store import ScanStore

store = ScanStore.open(sys.argv[1])
print("here", flush=True)
sys.stdin.readline()
for number in range(40):
    rng = np.random.default_rng(number)
    array = rng.standard_normal((3, 8)).astype("f4")
    store.append(array, subject=f"sub-{number}", tr=2.0, replace=True)
"""


def test_two_processes_at_once_write_each_scan_once(tmp_path):
    filled(tmp_path / "store", people=0)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, env=environment(), **pipes) for _ in range(2)]
    assert [writer.stdout.readline() for writer in writers] == ["here\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    lines = (tmp_path / "store" / TABLE).read_text().splitlines()
    assert sorted(json.loads(line)["subject"] for line in lines) == sorted(
        f"sub-{number}" for number in range(40)
    )
    assert ScanStore.open(tmp_path / "store").verify() == []


def test_one_that_does_not_wait_is_refused(tmp_path):
    one, other = filled(tmp_path / "store"), ScanStore.open(tmp_path / "store")
    with one.writing():
        with one.writing(wait=False):  # its own
            pass
        with (
            pytest.raises(BlockingIOError, match=r"alone in writing into the store '.*store', f"),
            other.writing(wait=False),
        ):
            pass
    with other.writing(wait=False):
        pass


def test_facts_and_array_belong_together_wherever_a_writer_dies(tmp_path, monkeypatch):
    """The new array is on disk, its line is not: the scan is what it was before."""
    store = filled(tmp_path / "store")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brainjepa_core.signals.storing.store.append_line", die)
    with pytest.raises(KeyboardInterrupt):
        store.append(series(7), subject="sub-0", tr=2.0, replace=True)
    left = ScanStore.open(tmp_path / "store")
    assert left.verify() == []
    np.testing.assert_array_equal(left.series(left.records[0]), series(0))
    assert len(list((tmp_path / "store" / ARRAYS).iterdir())) == 4
    (tmp_path / "store" / ARRAYS / ".half.npy.12345678.tmp").write_bytes(b"half")
    left.tidy()
    assert len(list((tmp_path / "store" / ARRAYS).iterdir())) == 3 and left.verify() == []


def test_who_is_taken_out_for_good_stays_out(tmp_path):
    store = filled(tmp_path / "store")
    other = ScanStore.open(tmp_path / "store")
    assert store.withdraw([Fingerprint.of("1", "aa")]) == 1
    for store_object in (store, other):
        for name in ("sub-1", "1"):
            with pytest.raises(WithdrawnPerson, match=r"who was taken out \(site remove"):
                store_object.append(series(1), subject=name, tr=2.0)
    assert store.append(series(1), subject="sub-01", tr=2.0)  # another label, another person
    assert store.withdraw([Fingerprint.of("1", "aa")]) == 0
    assert "sub-1" not in (tmp_path / "store" / WITHDRAWN).read_text()
    (tmp_path / "store" / WITHDRAWN).write_text("{}\n")
    with pytest.raises(ValueError, match=r"salt and person in line 1 of withdrawn\.jsonl, fo"):
        other.append(series(1), subject="sub-4", tr=2.0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_amending_passes_over_what_is_of_another_time(tmp_path, when):
    from dataclasses import replace

    store = filled(tmp_path / "store")
    told = [replace(record, phenotypes={"age": 1.0}) for record in store.records]
    if when == "before":
        store.append(series(9), subject="sub-0", tr=2.0, replace=True)
        store.remove([("sub-1", "", "")])
    store.amend(told)
    ages = {record.subject: record.phenotypes.get("age") for record in store.records}
    expected = {"sub-0": None, "sub-2": 1.0} if when == "before" else dict.fromkeys(ages, 1.0)
    assert ages == expected
