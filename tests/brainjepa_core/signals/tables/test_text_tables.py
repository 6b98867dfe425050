"""Lines of names and numbers in tables: what is a name stays one, what is no number is told."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.tables.series_files import read_series, series_shape

NAMES = ["a", "b", "c"]


def _by_rows(table: str) -> bytes:
    return table.replace("|", "\t").encode()


def _text(values: np.ndarray, delimiter: str, header: str) -> bytes:
    rows = (delimiter.join(map(repr, row)) for row in values.tolist())
    return (header + "\n".join(rows) + "\n").encode()


@pytest.mark.parametrize("first", ["2001|2002|2101|2102|2202", "7_1|17_2|1_3|1_4|1_5"])
@pytest.mark.parametrize("known", [True, False])
def test_a_line_of_label_numbers_is_no_frame(tmp_path, first, known):
    names = first.split("|") if known else list("abcde")
    rows = [f"{i}.5|{2 * i}|1|0|-{i}" for i in range(7)]
    (tmp_path / "x.tsv").write_bytes(_by_rows("\n".join([first, *rows])))
    if known:
        assert read_series(tmp_path / "x.tsv", names).shape == (7, 5)
        assert series_shape(tmp_path / "x.tsv", names) == (7, 5)
    else:
        with pytest.raises(ScanProblem, match=r"expected ROI names .* such as a, b, c and 2 more,"):
            read_series(tmp_path / "x.tsv", names)


@pytest.mark.parametrize(
    "first", ["2001 2002 2101 2102 2202", "2202 2102 2101 2002 2001", "a b c d e"]
)
@pytest.mark.parametrize("kind", [".csv", ".tsv.gz", ".csv.gz", ".1D", "#.1D"])
def test_label_numbers_lead_tables_of_every_kind(tmp_path, first, kind):
    names = sorted(first.split())
    values = np.random.default_rng(1).standard_normal((7, len(names)))
    file = tmp_path / f"x{kind.removeprefix('#')}"
    delimiter = " " if kind.endswith("1D") else "," if ".csv" in kind else "\t"
    header = "# " * kind.startswith("#") + delimiter.join(first.split()) + "\n"
    content = _text(values, delimiter, header)
    file.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    places = [first.split().index(name) for name in names]
    np.testing.assert_array_equal(read_series(file, names), values[:, places])
    assert series_shape(file, names) == (7, len(names))


def test_label_numbers_that_were_written_as_floats(tmp_path):
    header = "2001.0|2002.0|2101.0|2102.0|2202.0\n"
    (tmp_path / "x.tsv").write_bytes(_by_rows(header + "0.5|1|2|3|4\n" * 7))
    names = ["2001", "2002", "2101", "2102", "2202"]
    assert read_series(tmp_path / "x.tsv", names).shape == (7, 5)


def test_whole_numbers_are_names_only_where_they_are_known_or_nothing_else_is_whole(tmp_path):
    rows = ["11|12|13|14|15", "3|4|5|6|7", "1|2|3|4|9"]
    (tmp_path / "x.tsv").write_bytes(_by_rows("\n".join(rows)))
    assert read_series(tmp_path / "x.tsv", list("abcde")).shape == (3, 5)
    assert read_series(tmp_path / "x.tsv", rows[0].split("|")).shape == (2, 5)


@pytest.mark.parametrize("table", ["1|2|3\n1|2,5|3\n", "a|b|c\n0,5|2|3\n", "# \n1,5|2|3\n1|2|3\n"])
@pytest.mark.parametrize("kind", [".tsv", ".1D"])
def test_a_decimal_comma_is_told(tmp_path, table, kind):
    if "#" in table and kind == ".tsv":
        table = table.removeprefix("# ")
    (tmp_path / f"x{kind}").write_bytes(_by_rows(table))
    with pytest.raises(ScanProblem, match="found a decimal comma in line 2; write a point"):
        read_series(tmp_path / f"x{kind}", NAMES)


def test_semicolons_are_told(tmp_path):
    (tmp_path / "x.csv").write_text("a;b;c\n0,5;1,5;2,5\n")
    with pytest.raises(ScanProblem, match=r"commas between .* found semicolons in line 1; ex"):
        read_series(tmp_path / "x.csv", NAMES)
