"""Labels: one spelling of a person; a join never takes one person for another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.labels import (
    join_labels,
    person_label,
    session_label,
    visit_of,
)
from brainjepa_core.signals.tables.phenotypes import Phenotypes

LABELS = st.sets(st.sampled_from(["1", "01", "001", "2", "02", "0", "00", "a", "0a", "x1"]))


@given(st.text(max_size=12))
def test_a_label_has_one_spelling(text):
    label = person_label(text)
    for form in ("NFC", "NFD"):
        assert person_label(unicodedata.normalize(form, text)) == label
    assert person_label(f"sub-{label}") == person_label(label) or label.startswith("sub-")
    assert session_label("ses-2") == session_label("2") == "2"


@given(LABELS, LABELS)
def test_a_join_pairs_equal_labels_and_zeros_where_nothing_else_is_meant(ours, theirs):
    joined = join_labels(ours, theirs)
    assert joined.keys() <= ours and set(joined.values()) <= theirs
    assert len(set(joined.values())) == len(joined)  # nobody is two people
    for label in ours:
        alike_theirs = [
            t for t in theirs if t.isdigit() and label.isdigit() and int(t) == int(label)
        ]
        alike_ours = [o for o in ours if o.isdigit() and label.isdigit() and int(o) == int(label)]
        if label in theirs:
            assert joined[label] == label
        elif len(alike_theirs) == len(alike_ours) == 1:
            assert joined[label] == alike_theirs[0]
        else:
            assert label not in joined


@pytest.mark.parametrize(
    ("table", "folders", "ages"),
    [
        ({"50002": 1.0}, ["sub-0050002"], [1.0]),
        ({"0050002": 1.0}, ["sub-50002"], [1.0]),
        ({"1": 1.0, "01": 2.0}, ["sub-1", "sub-01", "sub-001"], [1.0, 2.0, None]),
        ({"1": 1.0}, ["sub-01", "sub-001"], [None, None]),
        ({"50002.0": 1.0}, ["sub-0050002"], [1.0]),  # of a table that was read as numbers
        ({"50002.5": 1.0}, ["sub-50002"], [None]),
    ],
)
def test_people_and_tables_are_joined(table, folders, ages):
    known = Phenotypes({label: {"age": age} for label, age in table.items()})
    joined = known.joined((folder, "") for folder in folders)
    assert [joined.of(folder).get("age") for folder in folders] == ages


def test_sessions_are_joined_within_their_person():
    sessions = {("1", "1"): {"bdi": 1.0}, ("1", "2"): {"bdi": 2.0}, ("2", "01"): {"bdi": 3.0}}
    known = Phenotypes({"1": {"age": 30.0}}, sessions)
    scans = [("sub-01", "01"), ("sub-01", "ses-02"), ("sub-2", "1"), ("sub-3", "1")]
    joined = known.joined(scans)
    assert [joined.of(*scan) for scan in scans] == [
        {"age": 30.0, "bdi": 1.0}, {"age": 30.0, "bdi": 2.0}, {"bdi": 3.0}, {},
    ]  # fmt: skip
    assert joined.without_row == ("3",) and joined.without_scan == ()


def test_who_is_without_a_row_and_who_without_a_scan_is_told():
    known = Phenotypes({"a": {}, "b": {}, "z": {}}, notes=("a comma",))
    joined = known.joined([("sub-a", ""), ("sub-x", ""), ("sub-y", "")])
    assert joined.notes() == [
        "a comma",
        "2 people have no row of phenotypes, such as 'x'",
        "2 people of the tables have no scan, such as 'b'",
    ]
    assert Phenotypes().joined([("sub-a", "")]).notes() == []


@pytest.mark.parametrize(
    ("label", "person", "session"),
    [
        ("HCA6002236_V1_MR", "HCA6002236", "V1"),
        ("HCD0001305_V2_MR", "HCD0001305", "V2"),
        ("HCA6002236_MR", "HCA6002236", ""),
        ("HCA6002236_V1_X1", "HCA6002236", "V1X1"),
        ("HCA6002236_V1_A_MR2", "HCA6002236", "V1A"),
        ("100610_7T", "100610", "7T"),
        ("100307", "100307", ""),
        ("FAM01_A", "FAM01_A", ""),  # twins
        ("sub_01", "sub_01", ""),
        ("MR", "MR", ""),
    ],
)
def test_a_visit_is_a_session_of_a_person(label, person, session):
    assert visit_of(label) == (person, session)
