"""Files of results: what is written can be read again."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.evaluation.scores.results import (
    Comparison,
    Gap,
    Results,
    Row,
    write_results,
)

NUMBERS = st.one_of(st.floats(), st.just(math.nan))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def made(kind: type) -> st.SearchStrategy:
    """Any item of a kind."""
    of = {"str": TEXT, "int": st.integers(0, 10**6), "Number": NUMBERS}
    return st.builds(kind, **{field.name: of[str(field.type)] for field in fields(kind)})


def row(**changed: object) -> Row:
    values = dict(model="probe", task="age", protocol="kfold", metric="r", mean=0.5, sd=0.1)
    return Row(**(values | dict(low=0.4, high=0.6, n=60) | changed))


@given(st.lists(made(Row)), st.lists(made(Row)), st.lists(made(Comparison)), st.lists(made(Gap)))
def test_what_is_written_gives_the_same_again(rows, subgroups, comparisons, gaps):
    rows = [Row(**(asdict(each) | {"group": ""})) for each in rows]
    items = {"results": rows, "subgroups": subgroups, "comparisons": comparisons, "gaps": gaps}
    results = Results(tuple(rows), tuple(subgroups), tuple(comparisons), tuple(gaps))
    with TemporaryDirectory() as folder:
        write_results(folder, results)
        for name, kind in zip(items, (Row, Row, Comparison, Gap), strict=True):
            read = json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
            again = [kind(**item) for item in read]
            assert repr(again) == repr(items[name])  # NaN is not equal to itself
        names = {path.name for path in Path(folder).iterdir()}
        lines = (Path(folder) / "subgroups.tsv").read_text(encoding="utf-8").split("\n")
    kinds = ("results", "subgroups", "comparisons", "gaps", "over_sites")
    assert names == {f"{name}.{end}" for name in kinds for end in ("json", "tsv")}
    assert len(lines) == len(subgroups) + 2 and {line.count("\t") for line in lines[:-1]} == {10}


def test_the_file_has_the_keys_that_others_read(tmp_path):
    path = write_results(tmp_path, Results((row(sd=math.nan),), (row(group="sex=F"),)))
    assert json.loads(path.read_text()) == [
        {
            "model": "probe", "task": "age", "protocol": "kfold", "metric": "r", "mean": 0.5,
            "sd": None, "low": 0.4, "high": 0.6, "n": 60, "unit": "",
        }
    ]  # fmt: skip
    table = pd.read_csv(tmp_path / "results.tsv", sep="\t")
    assert list(table.columns) == list(json.loads(path.read_text())[0])
    assert math.isnan(table.sd[0]) and table["mean"][0] == 0.5
    assert json.loads((tmp_path / "subgroups.json").read_text())[0]["group"] == "sex=F"


def test_an_infinite_number_is_none():
    assert math.isnan(row(mean=math.inf).mean)


def test_results_add_up():
    assert (Results((row(),)) + Results((row(n=3),))).rows == (row(), row(n=3))
