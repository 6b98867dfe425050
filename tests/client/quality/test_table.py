"""Reports of scans and the group table: what goes in comes out."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_client.quality.table import ScanReport, number_columns, write_table

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
REPORTS = st.builds(
    ScanReport,
    TEXT,
    TEXT,
    TEXT,
    st.sampled_from(["included", "excluded", "failed"]),
    st.dictionaries(TEXT, st.floats(allow_nan=False)),
    st.lists(TEXT).map(tuple),
    st.none() | TEXT,
)


@given(REPORTS)
def test_a_report_comes_back_from_json(report):
    assert ScanReport.from_json(json.loads(json.dumps(report.to_json()))) == report


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = ("subject", "session", "run", "status", "quality", "reasons", "figure")


@given(JSON | st.fixed_dictionaries({name: JSON for name in FIELDS}))
def test_anything_else_is_refused(content):
    with pytest.raises(ValueError, match=r"expected a scan's report, found .*; remove the file"):
        ScanReport.from_json(content)


def test_a_report_of_an_unknown_status_is_refused():
    content = ScanReport("s", "", "", "included", {}).to_json() | {"status": "lost"}
    with pytest.raises(ValueError, match="found status 'lost'"):
        ScanReport.from_json(content)


def test_the_table_can_be_read_back(tmp_path):
    reports = [
        ScanReport("sub-2", "", "task-rest", "included", {"tr": 0.8, "mean_fd": 0.123456}),
        ScanReport("sub-1", "2", "task-rest", "excluded", {"tr": 2.0, "odd": 7.0}, ("a", "b\tc")),
        ScanReport("sub-3", "", "", "failed", {}, ("expected x, found y; mend z",)),
    ]
    path = write_table(tmp_path, reports)
    rows = list(csv.DictReader(path.open(), delimiter="\t"))
    assert [row["subject"] for row in rows] == ["sub-1", "sub-2", "sub-3"]
    assert [row["status"] for row in rows] == ["excluded", "included", "failed"]
    assert rows[0]["reasons"] == "a; b c" and rows[1]["reasons"] == "n/a"
    assert rows[1]["session"] == "n/a" and rows[0]["session"] == "2"
    for row, report in zip(rows, sorted(reports, key=lambda r: r.key), strict=True):
        for name in number_columns(reports):
            known = report.quality.get(name)
            assert row[name] == "n/a" if known is None else float(row[name]) == known
    dictionary = json.loads((tmp_path / "scans.json").read_text())
    assert list(dictionary) == list(rows[0])
    assert dictionary["mean_fd"]["Units"] == "mm" and "Units" not in dictionary["odd"]
    assert set(dictionary["status"]["Levels"]) == {"included", "excluded", "failed"}


@given(st.lists(REPORTS, max_size=4))
def test_the_table_has_a_line_a_scan_whatever_the_texts(tmp_path_factory, reports):
    path = write_table(tmp_path_factory.mktemp("table"), reports)
    lines = path.read_text().splitlines()
    assert len(lines) == len(reports) + 1
    assert {line.count("\t") for line in lines} == {lines[0].count("\t")}


def test_a_scan_is_named_by_what_is_known():
    assert ScanReport("sub-1", "2", "task-rest", "failed", {}).name == "sub-1 ses-2 task-rest"
    assert ScanReport("odd.nii.gz", "", "", "failed", {}).name == "odd.nii.gz"
