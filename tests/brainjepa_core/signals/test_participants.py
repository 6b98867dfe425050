"""Tables of participants: what they hold is kept, what is damaged is refused, nobody is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.phenotypes import read_participants


def test_participants_edge_cases(tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text(
        "\ufeffage\tparticipant_id\tsite\tscore\textra\n"
        "n/a\tsub-1\tKKI\tnan\t\n"
        "1e1\tsub-2\t007\tinf\tx\ttoo\tmany\n"
        "3\tsub-3\n"
    )
    assert read_participants(table) == {
        "sub-1": {"site": "KKI"},
        "sub-2": {"age": 10.0, "site": 7.0, "score": "inf", "extra": "x"},
        "sub-3": {"age": 3.0},
    }
    table.write_text("participant_id\tage\nsub-1\t1\nsub-1\t2\n")
    with pytest.raises(ValueError, match=r"found one listed twice in participants\.tsv") as error:
        read_participants(table)
    assert "sub-1" not in str(error.value)
    for content, found in (("", r"\[\]"), ("participant_id\n", r"\[\]"), ("id\nx\n", r"\['id'\]")):
        table.write_text(content)
        with pytest.raises(ValueError, match=f"column participant_id, found columns {found}"):
            read_participants(table)
    table.write_bytes(b"participant_id\tage\nsub-\xff\t1\n")
    with pytest.raises(ValueError, match="table in UTF-8, found UnicodeDecodeError"):
        read_participants(table)


@given(
    st.binary(max_size=80)
    | st.text("ab\t\n\r\"'\x001n/", max_size=80).map(lambda t: ("participant_id\t" + t).encode())
)
def test_garbage_for_participants_raises_nothing_but_value_errors(tmp_path_factory, content):
    table = tmp_path_factory.mktemp("table") / "participants.tsv"
    table.write_bytes(content)
    try:
        read_participants(table)
    except ValueError as error:
        assert "expected" in str(error)
