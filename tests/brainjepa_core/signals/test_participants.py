"""Tables of participants: what they hold is kept, what is damaged is refused, nobody is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.phenotypes import read_phenotypes


def test_participants_edge_cases(tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text(
        "\ufeffage\tparticipant_id\tsite\tscore\textra\t\n"
        "n/a\tsub-1\tKKI\tnan\t\t\n"
        "\n"
        "1e1\tsub-2\t007\tinf\tx\t\t\t\n"
        "3\tsub-3\t1_000\t34,5\tNA\tanything\n"
    )
    known = read_phenotypes([table])
    assert known.people == {
        "1": {"site": "KKI"},
        "2": {"age": 10.0, "site": 7.0, "score": "inf", "extra": "x"},
        "3": {"age": 3.0, "site": "1_000", "score": "34,5"},
    }
    assert known.notes == (
        "column 'score' of participants.tsv has a decimal comma in 1 cell, which stay text; "
        "write a point",
    )
    table.write_text("participant_id\tage\nsub-1\t1\nsub-1\t2\n")
    with pytest.raises(ValueError, match=r"found one listed twice in participants\.tsv") as error:
        read_phenotypes([table])
    assert "sub-1" not in str(error.value)
    for content, found in (("", "no rows"), ("participant_id\n", "no rows"), ("id\nx\n", "id")):
        table.write_text(content)
        with pytest.raises(ValueError, match=f"participant_id, found {found} in participants.tsv"):
            read_phenotypes([table])
    for content, text in (
        ("participant_id\tage\tsex\n1\t2\tF\n\n2\t3\n", r"3 cells .* 2 in line 4 of .*'sex'"),
        ("participant_id\tage\n1\t2\tF\n", "2 cells in every row, found 3 in line 2 of particip"),
        ("participant_id\tage\tx\tage\n1\t2\t3\t4\n", "'age' as columns 2 and 4 in line 1 of part"),
        ("participant_id\tage\nsub-1\t2\n \t3\n", "found none in line 3 of participants.tsv"),
    ):
        table.write_text(content)
        with pytest.raises(ValueError, match=text) as error:
            read_phenotypes([table])
        assert "sub-1" not in str(error.value)
    table.write_bytes(b"participant_id\tage\nsub-\xff\t1\n")
    with pytest.raises(ValueError, match="table in UTF-8, found bytes that are not text in UTF-8"):
        read_phenotypes([table])


@given(
    st.binary(max_size=80)
    | st.text("ab\t\n\r\"'\x001n/", max_size=80).map(lambda t: ("participant_id\t" + t).encode())
)
def test_garbage_for_participants_raises_nothing_but_value_errors(tmp_path_factory, content):
    table = tmp_path_factory.mktemp("table") / "participants.tsv"
    table.write_bytes(content)
    try:
        read_phenotypes([table])
    except ValueError as error:
        assert "expected" in str(error)
