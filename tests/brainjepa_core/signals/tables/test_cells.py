"""Cells: words for missing, and what is a number, against Python's own reading of both."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.cells import MISSING, has_decimal_comma, is_missing, number
from brainjepa_core.signals.tables.phenotypes import read_phenotypes
from brainjepa_core.signals.tables.text_tables import read_table
from brainjepa_core.signals.tables.values import known_value


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20))
def test_whatever_python_writes_is_read_back(value):
    assert number(str(value)) == float(value)
    assert number(f"  {value}\t") == float(value) and number(f"{value:e}") == float(f"{value:e}")


@given(st.text("0123456789+-.eE_, infaNxX\u0661\u00b2", max_size=12))
def test_a_number_is_what_python_takes_for_one_but_for_what_is_ambiguous(cell):
    found = number(cell)
    try:
        expected = float(cell)
    except ValueError:
        expected = None
    guessed = "_" in cell or not cell.isascii() or expected is None or not math.isfinite(expected)
    assert found == (None if guessed else expected)


@pytest.mark.parametrize("cell", ["1_000", "7_1", "34,5", "1,000", "inf", "-Infinity", "1e999"])
def test_nothing_is_guessed(cell):
    assert number(cell) is None and not is_missing(cell)
    assert has_decimal_comma(cell) == ("," in cell)


WORDS = [*sorted(MISSING), "NA", "N/A", "NaN", "NULL", "None", "#N/A", "<NA>", " n/a "]


@pytest.mark.parametrize("word", WORDS)
def test_every_reader_knows_every_word_for_missing(tmp_path, word):
    assert is_missing(word) and number(word) is None
    table = tmp_path / "participants.tsv"
    table.write_text(f"participant_id\tage\tsex\n01\t{word}\tF\n02\t3\t{word}\n")
    assert read_phenotypes([table]).people == {"01": {"sex": "F"}, "02": {"age": 3.0}}
    series = tmp_path / "series.tsv"
    series.write_text(f"a\tb\n1\t{word}\n2\t{word}\n")
    values = read_table(series).values
    assert values[:, 0].tolist() == [1, 2] and all(map(math.isnan, values[:, 1]))
    assert known_value(word) is None


@given(st.text(max_size=8))
def test_a_word_means_the_same_whatever_its_case(cell):
    assert is_missing(cell) == (cell.strip().lower() in MISSING)
    assert not (is_missing(cell) and number(cell) is not None)
