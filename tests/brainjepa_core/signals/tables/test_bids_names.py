"""Names in the manner of BIDS, and those that are not: entities, and which scan is meant."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.signals.tables.bids_names import bids_entities, run_of, scan_key


@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("sub-01_task-rest_bold", {"sub": "01", "task": "rest", "suffix": "bold"}),
        ("sub-01_ses-a-b", {"sub": "01", "ses": "a-b"}),
        ("sub-01_foo-2_bold.nii.gz", {"sub": "01", "foo": "2", "suffix": "bold", "ext": ".nii.gz"}),
        ("plain", {"suffix": "plain"}),
        ("", {}),
        ("-x_y-", {}),
    ],
)
def test_bids_entities(name, entities):
    assert bids_entities(name) == entities


def test_a_key_leaves_out_how_a_file_was_made():
    name = "sub-01_ses-2_task-rest_dir-AP_run-1_space-T1w_res-2_desc-preproc_bold.nii.gz"
    assert scan_key(bids_entities(name)) == ("sub-01", "2", "task-rest_dir-AP_run-1")
    assert run_of(bids_entities("sub-01_atlas-A_stat-mean_timeseries.tsv")) == ""


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_name_has_entities_whose_values_are_texts(name):
    found = bids_entities(name)
    assert all(entity and value for entity, value in found.items())
    assert found == bids_entities(unicodedata.normalize("NFD", name))
    assert all(isinstance(part, str) for part in scan_key(found))
