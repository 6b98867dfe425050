"""What is known of people: tables agree with one another or say which does not; nobody is named."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.phenotypes import (
    Phenotypes,
    read_phenotypes,
    told_displacement,
)


def dataset(folder: Path) -> Path:
    (folder / "phenotype").mkdir()
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tsex\tgröße\nsub-01\t33\t1\t180\nsub-Zoë\tn/a\t2\t\n", "utf-8"
    )
    facts = {
        "age": {"Description": "Age at scan", "Units": "years"},
        "sex": {"Levels": {"1": "female", "2": {"Description": "male", "TermURL": "x"}}},
        "GeneratedBy": "somebody",
    }
    (folder / "participants.json").write_text(json.dumps(facts))
    (folder / "phenotype" / "bdi.tsv").write_text(
        "participant_id\tsession_id\tbdi\tage\n01\tses-1\t7\t33\n01\tses-2\t9\t34.5\n02\t1\tn/a\t5\n"
    )
    (folder / "phenotype" / "iq.tsv").write_text("participant_id\tage\tiq\n01\t33.0\t101\n")
    return folder


def test_tables_of_a_dataset_are_joined(tmp_path):
    known = read_phenotypes(dataset(tmp_path))
    person = {"age": 33.0, "sex": "female", "größe": 180.0, "iq": 101.0}
    assert known.of("sub-01") == known.of("01") == person
    assert known.of("sub-01", "2") == known.of("01", "ses-2") == {**person, "bdi": 9.0, "age": 34.5}
    assert known.of("sub-Zoë") == {"sex": "male"}
    assert known.of("02", "1") == {"age": 5.0} and known.of("02") == known.of("nobody") == {}
    assert known.descriptions == {"age": "Age at scan (years)"}
    tables = [tmp_path / "participants.tsv", tmp_path / "phenotype" / "bdi.tsv"]
    assert "iq" not in read_phenotypes(tables).of("01")
    (tmp_path / "empty").mkdir()
    assert read_phenotypes(tmp_path / "empty") == Phenotypes()


def test_contradictions_name_table_and_column_only(tmp_path):
    iq = dataset(tmp_path) / "phenotype" / "iq.tsv"
    iq.write_text("participant_id\tage\tiq\nsub-01\t32\t101\n")
    text = r"one value of each column, found 1 of 'age' in iq.tsv that another table has different"
    with pytest.raises(ValueError, match=text) as error:
        read_phenotypes(tmp_path)
    assert "01" not in str(error.value).replace("101", "") and str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ("a|age\n1|2\n", "a column participant_id, found a, age in x.tsv; give a BIDS"),
        ("participant_id|x\na|1\nsub-a|2\na|3\n", "each participant once, found 2 listed again in"),
        ("participant_id|session_id\na|1\na|ses-1\n", "each participant and session once, found o"),
        ("participant_id|session_id\na|1\na|\n", "a session_id in every row of x.tsv, found one"),
        (
            "participant_id|größe\na|1\n",
            "table in UTF-8, found bytes that .* in x.tsv; .* save",
        ),
        (None, "expected a tab-separated table in UTF-8, found no such file in x.tsv; "),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, table, error):
    if table:
        (tmp_path / "x.tsv").write_bytes(table.replace("|", "\t").encode("latin-1"))
    with pytest.raises(ValueError, match=error) as caught:
        read_phenotypes([tmp_path / "x.tsv"])
    assert "sub-" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"), [("[1]", "a list"), ("{", "damaged JSON"), ("\xff", "bytes that")]
)
def test_json_that_cannot_be_used(tmp_path, text, found):
    dataset(tmp_path)
    (tmp_path / "participants.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"facts by column in participants.json, found {found}"):
        read_phenotypes(tmp_path)


CELLS = st.text("ab1.\t\n\r\"'\x00/n", max_size=60)


@given(st.binary(max_size=80) | CELLS.map(lambda t: f"participant_id\tsession_id\t{t}".encode()))
def test_garbage_raises_nothing_but_value_errors(tmp_path_factory, content):
    table = tmp_path_factory.mktemp("table") / "x.tsv"
    table.write_bytes(content)
    table.with_suffix(".json").write_bytes(
        b'{"a": {"Levels": [1], "Units": 2}, "b": {"Levels": {}}}'
    )
    try:
        read_phenotypes([table])
    except ValueError as error:
        assert str(error).startswith("expected ")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_the_same_person_however_they_are_written(tmp_path, form):
    table = tmp_path / "participants.tsv"
    person = unicodedata.normalize(form, "sub-Jürgen")
    table.write_text(f"participant_id\tage\n{person}\t30\n", encoding="utf-8")
    for written in ("NFC", "NFD"):
        subject = unicodedata.normalize(written, "sub-Jürgen")
        assert read_phenotypes([table]).of(subject) == {"age": 30.0}


def test_words_are_explained_by_levels_and_numbers_stand_for_theirs(tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tgroup\thand\nsub-1\tcase\t2\n")
    levels = {"group": {"case": "has the disease"}, "hand": {"2": "left"}}
    content = {column: {"Levels": found} for column, found in levels.items()}
    table.with_suffix(".json").write_text(json.dumps(content))
    assert read_phenotypes([table]).of("sub-1") == {"group": "case", "hand": "left"}


@pytest.mark.parametrize("name", ["participants.tsv", "participants.json"])
def test_a_table_that_was_not_fetched_is_not_the_same_as_none(tmp_path, name):
    dataset(tmp_path)
    (tmp_path / name).unlink()
    read_phenotypes(tmp_path)
    (tmp_path / name).symlink_to(tmp_path / ".git" / "annex" / "nowhere")
    with pytest.raises(ValueError, match=f"{name}: expected a file, or none, found a link to a"):
        read_phenotypes(tmp_path)


def test_rows_of_people_and_rows_of_visits_reach_their_scans(tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text(
        "participant_id\tage\nHCA1\t50\nHCA2_V1_MR\t60\nHCA2_V2_MR\t62\nHCA3_V1\t1\nHCA3_V1_MR\t2\n"
        "P1_V1\t70\n"
    )
    scans = [("HCA1", "V1"), ("HCA1", "V2"), ("HCA2", "V1"), ("HCA2", "V2"), ("HCA3", "V1")]
    known = read_phenotypes([table]).joined([*scans, ("P1_V1", "")])
    ages = [known.of(*scan).get("age") for scan in scans]
    assert ages == [50, 50, 60, 62, None]  # two rows may mean the last one's visit
    assert known.of("P1_V1") == {"age": 70}
    assert known.without_row == ("HCA3",) and known.without_scan == ("HCA3_V1", "HCA3_V1_MR")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("0.21", 0.21), ("0", 0.0), ("n/a", None), ("NA", None), ("0,21", None), ("-9999", None)],
)
def test_mean_displacement_that_is_not_known_is_no_number(tmp_path, cell, expected):
    table = tmp_path / "participants.tsv"
    table.write_text(f"participant_id\tmean_fd\n01\t{cell}\n02\t0.1\n")
    assert told_displacement(read_phenotypes([table]).of("01")) == expected
