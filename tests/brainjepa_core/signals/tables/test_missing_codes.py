"""Codes for missing: what is said to be one is unknown everywhere, what looks like one is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.missing_codes import suspects
from brainjepa_core.signals.tables.phenotypes import read_phenotypes

AGES = [20.0, 31.5, 43.0]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([*AGES, -9999.0, -9999.0], {-9999: 2}),
        ([*AGES, -999.0], {-999: 1}),
        ([*AGES, -99.0, 99.0], {-99: 1, 99: 1}),
        ([*AGES, 999.0, 9999.0], {999: 1, 9999: 1}),
        ([1.0, 2.0, 88.0, 99.0], {88: 1, 99: 1}),
        ([1.0, 2.0, -9.0], {-9: 1}),
        (["F", "M", -9999.0], {-9999: 1}),
        ([-9999.0], {-9999: 1}),
        ([70.0, 99.0, 130.0], {}),  # an IQ
        ([18.0, 85.0, 99.0], {}),  # an age
        ([-120.0, -99.0, 40.0], {}),  # a temperature
        ([400.0, 650.0, 999.0], {999: 1}),
        ([200.0, 650.0, 999.0], {}),  # a reaction time
        ([99.0, 88.0], {}),
        (AGES, {}),
        ([], {}),
    ],
)
def test_what_looks_like_a_code(values, found):
    assert suspects(values) == found


@given(st.lists(st.floats(0, 60), min_size=2))
def test_no_code_is_seen_where_there_is_none(values):
    assert suspects(values) == {}


def table(folder, content, facts=None):
    (folder / "participants.tsv").write_text(content)
    if facts is not None:
        (folder / "participants.json").write_text(json.dumps(facts))
    return [folder / "participants.tsv"]


TABLE = "participant_id\tage\tsex\tiq\n1\t-9999\tF\t-99\n2\t30\trefused\t100\n3\t31\tM\t9\n"


@pytest.mark.parametrize("codes", [[-9999, -99, "Refused"], ["-9999", "-99.0", "refused"]])
def test_codes_that_a_site_names_are_unknown(tmp_path, codes):
    known = read_phenotypes(table(tmp_path, TABLE), codes)
    assert known.people == {
        "1": {"sex": "F"},
        "2": {"age": 30, "iq": 100},
        "3": {"age": 31, "sex": "M", "iq": 9},
    }
    assert known.notes == ()


@pytest.mark.parametrize(
    "facts",
    [
        {"MissingValue": -9999},
        {"missing_values": ["-9999", -1]},
        {"Levels": {"-9999": "missing"}},
        {"Levels": {"-9999": {"Description": "Not available"}}},
        {"Levels": {"-9999": "n/a"}},
    ],
)
def test_codes_that_the_json_names_are_unknown_in_that_column(tmp_path, facts):
    content = "participant_id\tage\tscore\n1\t-9999\t-9999\n2\t30\t1\n"
    known = read_phenotypes(table(tmp_path, content, {"age": facts}))
    assert known.people == {"1": {"score": -9999}, "2": {"age": 30, "score": 1}}


def test_levels_that_begin_alike_are_levels(tmp_path):
    levels = {"1": "Native American", "2": "missing teeth", "3": "no"}
    content = "participant_id\tx\n" + "".join(f"{i}\t{i}\n" for i in (1, 2, 3))
    known = read_phenotypes(table(tmp_path, content, {"x": {"Levels": levels}}))
    assert [row["x"] for row in known.people.values()] == list(levels.values())


def test_what_looks_like_a_code_or_no_age_is_told_and_kept(tmp_path):
    rows = "1\t-9999\n2\t30\n3\t31\n"
    known = read_phenotypes(table(tmp_path, "participant_id\tage\n" + rows))
    assert known.people["1"] == {"age": -9999}
    assert known.notes == (
        "column 'age' of participants.tsv has -9999 in 1 rows, which looks like a code for "
        "missing; say missing: [-9999], or write n/a",
    )
    months = "participant_id\tage\n1\t720\n2\t300\n"
    (note,) = read_phenotypes(table(tmp_path, months)).notes
    assert note.startswith("column 'age' of participants.tsv has 2 ages outside 0 to 120 years")
    assert read_phenotypes(table(tmp_path, months, {"age": {"Units": "months"}})).notes == ()


@pytest.mark.parametrize("columns", ["age\tage ", "age\tAge", "\ufeffage\tage"])
def test_a_repeated_column_is_refused_however_it_is_written(tmp_path, columns):
    text = r"expected each column once, found '(A|a)ge' as columns . and . in line 1 of particip"
    with pytest.raises(ValueError, match=text):
        read_phenotypes(table(tmp_path, f"{columns}\tparticipant_id\n1\t2\t3\n"))
    levels = {"sex": {"Levels": {"1": "female"}}}
    content = " participant_id\t age \tsex\n1 \t 2\t 1 \n"
    known = read_phenotypes(table(tmp_path, content, levels))
    assert known.people == {"1": {"age": 2, "sex": "female"}}
