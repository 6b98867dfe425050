"""Vectors of other modalities: by person, of people with a scan, and gone with them."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.vectors import (
    import_vectors,
    keep_people_of,
    vectors_digest,
    vectors_of,
    vectors_of_store,
)
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows


def store(path, people, rois=4):
    made = ScanStore.create(path, Atlas.from_names([f"roi_{i}" for i in range(rois)]))
    for number, person in enumerate(people):
        series = np.random.default_rng(number).normal(size=(rois, 80))
        made.append(series, subject=person, tr=2.0)
    return made


def table(path, text):
    path.write_text(text)
    return path


def test_vectors_find_their_people(tmp_path):
    here = store(tmp_path / "A", ["0012", "sub-b", "c"])
    text = "participant_id,x,y\nsub-12,1,2\nb,3,n/a\nnobody,9,9\n"
    assert import_vectors(here, "t1", table(tmp_path / "t.csv", text)) == (2, 1)
    there = store(tmp_path / "B", ["d"])
    windows = Windows([here, there], WindowSettings(frames=32))
    found = vectors_of(windows)["t1"]
    names = [p.records[0].subject for p in windows.people]
    expected = {"0012": [1, 2], "sub-b": [3, np.nan], "c": [np.nan] * 2, "d": [np.nan] * 2}
    np.testing.assert_array_equal(found, [expected[name] for name in names])
    before = vectors_digest(windows)
    import_vectors(here, "t1", table(tmp_path / "t.csv", text.replace("3", "4")))
    assert vectors_digest(windows) != before


def test_who_leaves_the_store_takes_them_along(tmp_path):
    here = store(tmp_path / "A", ["a", "b"])
    import_vectors(here, "t1", table(tmp_path / "t.tsv", "participant_id\tx\na\t1\nb\t2\n"))
    here.remove([("b", "", "")])
    keep_people_of(here)
    (found,) = vectors_of_store(here.path).values()
    assert found.subjects == ("a",) and found.values.tolist() == [[1.0]]


def test_who_is_still_to_come_keeps_theirs(tmp_path):
    here = store(tmp_path / "A", ["a", "b"])
    import_vectors(here, "t1", table(tmp_path / "t.tsv", "participant_id\tx\na\t1\nb\t2\n"))
    here.remove([("a", "", ""), ("b", "", "")])
    keep_people_of(here, {"b"})
    assert vectors_of_store(here.path)["t1"].subjects == ("b",)


def test_who_was_removed_meanwhile_does_not_come_back(tmp_path):
    here = store(tmp_path / "A", ["a", "b"])
    opened_before = ScanStore.open(here.path)
    here.remove([("b", "", "")])
    text = "participant_id\tx\na\t1\nb\t2\n"
    assert import_vectors(opened_before, "t1", table(tmp_path / "t.tsv", text)) == (1, 1)
    assert vectors_of_store(here.path)["t1"].subjects == ("a",)


@pytest.mark.parametrize("code", ["-9999", "999"])
def test_codes_for_missing_are_told_or_refused(tmp_path, code):
    here = store(tmp_path / "A", ["a", "b", "c"])
    text = table(tmp_path / "t.csv", f"participant_id,x,y\na,1,{code}\nb,2,{code}\nc,3,4\n")
    found = (
        f"column 'y' of t.csv, found {code} in 2 rows, .* say --missing {code}, or --missing n/a"
    )
    with pytest.raises(ValueError, match=found):
        import_vectors(here, "t1", text)
    for said, value in (([code], np.nan), (["n/a"], float(code))):
        import_vectors(here, "t1", text, said)
        values = vectors_of_store(here.path)["t1"].values
        np.testing.assert_array_equal(values, [[1, value], [2, value], [3, 4]])


def test_tables_that_cannot_be_used(tmp_path):
    here = store(tmp_path / "A", ["a", "b"])

    def refused(text, name="t1"):
        with pytest.raises(ValueError) as error:
            import_vectors(here, name, table(tmp_path / "t.csv", text))
        return str(error.value)

    assert "expected numbers or n/a in column 'x' of t.csv" in refused("participant_id,x\na,left\n")
    assert "expected each person once, found 1 listed" in refused("participant_id,x\na,1\na,2\n")
    assert "found none of 1 rows of t.csv and 2 people" in refused("participant_id,x\nz,1\n")
    assert "expected a column participant_id and" in refused("person,x\na,1\n")
    assert "letters, digits, - and _, found 'a/b'" in refused("participant_id,x\na,1\n", "a/b")
    there = store(tmp_path / "B", ["c"])
    import_vectors(here, "t1", table(tmp_path / "t.csv", "participant_id,x\na,1\n"))
    import_vectors(there, "t1", table(tmp_path / "t.csv", "participant_id,y\nc,1\n"))
    with pytest.raises(ValueError, match="the same columns of vectors 't1' at all sites, found 2"):
        vectors_of(Windows([here, there], WindowSettings(frames=32)))
