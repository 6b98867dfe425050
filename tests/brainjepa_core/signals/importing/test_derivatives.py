"""Names of derivatives: two scans never get one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.importing.derivatives import derivative_name, require_names_apart

ATLAS = Atlas.from_names(["a", "b"])
TEXT = st.sampled_from(["", "S1_2", "S12", "sub-S12", "run-1", "1", "task-rest_run-1", "x y"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("sub-A_1", "", ""), ("sub-A1", "", "")),
        (("sub-01", "", "1"), ("sub-01", "", "run-1")),
    ],
)
def test_scans_that_would_share_a_name_are_refused_and_named(one, other):
    assert derivative_name(one, "", ATLAS) == derivative_name(other, "", ATLAS)
    text = "found '.*' and '.*' under one; rename one, or leave prepare.derivatives out"
    with pytest.raises(ValueError, match=text) as error:
        require_names_apart([("sub-9", "", ""), one, other], ATLAS)
    assert one[0] in str(error.value) and other[0] in str(error.value)


@given(st.sets(st.tuples(TEXT.filter(bool), TEXT, TEXT), max_size=6))
def test_what_is_let_through_has_as_many_names_as_scans(keys):
    names = {derivative_name(key, "", ATLAS) for key in keys}
    try:
        require_names_apart(keys, ATLAS)
    except ValueError:
        assert len(names) < len(keys)
    else:
        assert len(names) == len(keys)
