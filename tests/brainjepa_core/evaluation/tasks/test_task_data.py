"""From phenotypes to targets: who takes part, and errors for what cannot be learned."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared
from whole_cohorts import TINY

from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings, load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.people import Person
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.stores import write_cohort

ID = "sub-0042"  # must not be in any error


def cohort(rows: list[dict[str, Any]], site: Any = "here") -> Any:
    """What `task_data` asks of windows: people with phenotypes, the stores' folders."""
    sites = [site(i) if callable(site) else site for i in range(len(rows))]
    folders = sorted(set(sites))
    people = [
        Person(
            folders.index(own),
            (ScanRecord(ID, 2.0, 100, "", qc={"mean_fd": 0.1}, phenotypes=row),),
        )
        for own, row in zip(sites, rows, strict=True)
    ]
    stores = [SimpleNamespace(path=Path("secret") / name) for name in folders]
    return SimpleNamespace(people=tuple(people), stores=tuple(stores))


def task(**fields: Any) -> TaskSettings:
    return TaskSettings.model_validate(
        {"name": "t", "column": "y", "kind": "classification", **fields}
    )


def column(*values: Any) -> list[dict[str, Any]]:
    return [{} if value is None else {"y": value} for value in values]


def test_classes_by_what_their_values_are():
    data = task_data(
        task(classes={"no": ["TC", "Healthy", 0], "yes": ["ASD", "1"]}),
        cohort(
            column(*["tc", "HEALTHY", " TC ", 0, "0", "ASD", 1, 1.0, "1", "asd", "other", None])
        ),
    )
    assert data.classes == ("no", "yes")
    assert data.target.tolist() == [0] * 5 + [1] * 5
    assert data.people.tolist() == list(range(10)) and data.people.dtype == np.int64
    assert data.left_out == {"no y": 1, "other y": 1}
    assert data.covariates.shape == (10, 0) and len(data) == 10


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "a"], ("a", "b")),
        ([2, "1", 2.0], ("1", "2")),
        (["m", "M", "F"], ("F", "M")),
        (["x", 3, 0.5], ("0.5", "3", "x")),
    ],
)
def test_every_value_is_a_class_unless_said_otherwise(values, names):
    data = task_data(task(), cohort(column(*values * 5)))
    assert data.classes == names
    assert [names[int(k)].casefold() for k in data.target[:3]] == [
        f"{float(v):g}" if not str(v).isalpha() else v.casefold() for v in values
    ]


def test_regression_with_rules_and_covariates():
    rows = [
        {"y": str(i / 2) if i % 2 else i / 2, "sex": "FM"[i % 2], "age": 10 + i} for i in range(12)
    ]
    rows[3]["age"] = "n/a"
    del rows[4]["y"]
    rows[5]["sex"] = "?"
    wanted = task(
        kind="regression",
        covariates=["age", "site", "sex", "mean_fd"],
        include=[
            {"column": "age", "least": 11, "most": 20},
            {"column": "sex", "one_of": ["f", "m"]},
        ],
    )
    data = task_data(wanted, cohort(rows, site=lambda i: f"site-{i % 3}"))
    assert data.people.tolist() == [1, 2, 6, 7, 8, 9, 10]
    assert data.target.tolist() == [i / 2 for i in data.people]
    assert data.left_out == {"rule on age": 3, "rule on sex": 1, "no y": 1}
    assert data.classes == ()
    assert data.sites.tolist() == [f"site-{i % 3}" for i in data.people]
    i = data.people
    columns = [10 + i, i % 3 == 0, i % 3 == 1, i % 3 == 2, i % 2 == 0, i % 2 == 1, 0.1 + 0 * i]
    assert np.array_equal(data.covariates, np.stack(columns, axis=1))
    assert data.facts[0] == {"y": 0.5, "sex": "M", "age": 11.0, "mean_fd": 0.1, "site": "site-1"}


def test_a_rule_with_a_column_alone_asks_that_it_is_known():
    rows = [{"y": i, "iq": None if i == 2 else 100} for i in range(6)]
    data = task_data(task(kind="regression", include=[{"column": "iq"}]), cohort(rows))
    assert data.people.tolist() == [0, 1, 3, 4, 5] and data.left_out == {"rule on iq": 1}


def balanced(n: int = 20, **facts: Any) -> list[dict[str, Any]]:
    return [{"y": "ab"[i % 2], **facts} for i in range(n)]


ERRORS = {
    "unknown column": (
        {"column": "diagnosys"}, [{"diagnosis": "a", "age": 3}] * 6,
        "expected column 'diagnosys', found it of none of 6 people; did you mean diagnosis",
    ),
    "unknown covariate": (
        {"covariates": ["zzz"]}, balanced(age=1.0),
        r"column 'zzz', found it of none of 20 people; known are age, mean_fd, site, y\?",
    ),
    "unknown stratum": ({"stratify": ["sx"]}, balanced(sex="F"), "'sx'.*did you mean sex"),
    "unknown rule": ({"include": [{"column": "ag"}]}, balanced(age=3), "'ag'.*did you mean age"),
    "no one left": (
        {"include": [{"column": "age", "least": 18}]}, [*balanced(12, age=3), {"age": 30}],
        r"found none of 13 left \(12 by 'rule on age', 1 by 'no y'\); loosen include",
    ),
    "one class": (
        {"classes": {"no": ["a"], "yes": ["c"]}}, balanced(),
        "at least two classes of 'y', found one among 10 people: no 10, yes 0; add sites",
    ),
    "one value": ({}, column(*"aaaaaa"), "found one among 6 people: 'a' 6"),
    "few": (
        {"classes": {"no": ["a"], "yes": ["b"]}}, column(*"aaaaaabbbb"),
        r"at least 5 people of each class of 'y', found 1 of 2 classes with fewer "
        r"\(no 6, yes 4\); put rare values into one class",
    ),
    "many numbers": (
        {}, column(*[i / 10 for i in range(40)]),
        r"found 40 of 40 classes with fewer \(not shown 40 \(40 different\)\); make it kind: regr",
    ),
    "ids": ({}, column(*[f"sub-{i}" for i in range(40)] * 5), None),
    "rare ids": (
        {}, column(*[f"sub-{i}" for i in range(9)], *"aaaaa", "rare"),
        r"10 of 11 classes with fewer \('a' 5, other 10 \(10 different\)\)",
    ),
    "nobody in a class": (
        {"classes": {"no": ["TC"], "yes": ["ASD"]}}, column(*["HC"] * 6, *["PT"] * 5, *[3] * 7),
        r"that its classes list \(TC, ASD\), found none among 18 people: 'HC' 6, 'PT' 5, "
        r"other 7 \(1 different\); add the values to classes",
    ),
    "constant": (
        {"kind": "regression"}, column(*[7.0] * 9),
        "a target that varies, found the same 'y' of all 9 people; choose another column",
    ),
    "few numbers": (
        {"kind": "regression"}, column(1, 2, 3, 4), "at least 5 people whose 'y' is known, found 4",
    ),
    "text": (
        {"kind": "regression"}, column(*["old"] * 6, 3, 4, 5, "30s"),
        "numbers in 'y' for a regression, found text of 7 of 10 people: 'old' 6, other 1 "
        r"\(1 different\); make it kind: classification",
    ),
    "covariate of some": (
        {"covariates": ["iq"]}, [*balanced(17, iq=90), *balanced(3)],
        r"covariate 'iq' of everybody, found 3 of 20 people without it; .* with include: "
        r"\[\{column: iq\}\]",
    ),
    "covariate of both kinds": (
        {"covariates": ["iq"]}, [*balanced(17, iq=90), *balanced(3, iq="high")],
        "'iq' to be all numbers or all text, found text of 3 of 20 people",
    ),
    "bounds of text": (
        {"include": [{"column": "age", "least": 3}]}, balanced(age="old"),
        "numbers in 'age', on which a rule sets bounds, found text of 20 people; use one_of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_task_counts_and_mend_but_nobody(case):
    fields, rows, text = ERRORS[case]
    if text is None:  # enough people of each: odd, but a choice
        assert len(task_data(task(**fields), cohort(rows)).classes) == 40
        return
    with pytest.raises(ValueError, match=text) as error:
        task_data(task(**fields), cohort(rows))
    message = str(error.value)
    assert message.startswith("task 't': expected ")
    assert not any(secret in message for secret in (ID, "secret", "sub-"))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.sampled_from(["case", "control", "n/a", "1", "nan", "1e400"]), st.lists(st.integers()),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40), st.data())
def test_whatever_a_table_holds_gives_sound_data_or_an_error_that_names_the_task(pairs, draw):
    rows = [{"y": y, "x": x} for y, x in pairs]
    fields = draw.draw(st.sampled_from([
        {"kind": "regression"}, {}, {"classes": {"a": ["case", 1], "b": ["control", 0]}},
        {"covariates": ["x"]}, {"include": [{"column": "x", "least": 0}]},
        {"include": [{"column": "x", "one_of": ["1", "case"]}]},
    ]))  # fmt: skip
    try:
        data = task_data(task(**fields), cohort(rows))
    except ValueError as error:
        assert str(error).startswith("task 't': expected ")
        return
    assert len(data) + sum(data.left_out.values()) == len(rows)
    assert len(data.sites) == len(data.target) == len(data.covariates) == len(data.facts)
    assert np.isfinite(data.target).all() and np.isfinite(data.covariates).all()
    if data.classes:
        assert np.bincount(data.target.astype(int), minlength=len(data.classes)).min() >= 5
    known = [value for facts in data.facts for value in facts.values()]
    assert all(isinstance(v, str) or math.isfinite(v) for v in known)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Windows:
    folder = tmp_path_factory.mktemp("cohort")
    return Windows([ScanStore.open(path) for path in write_cohort(TINY, folder)])


@pytest.mark.parametrize("name", ["age", "sex", "diagnosis"])
def test_shipped_tasks_on_the_synthetic_cohort(synthetic, name):
    data = task_data(load_task(name), synthetic)
    assert len(data) == 48 and data.left_out == {}
    phenotypes = [person.records[0].phenotypes for person in synthetic.people]
    if name == "age":
        assert data.target.tolist() == [facts["age"] for facts in phenotypes]
    else:
        names = {"F": "female", "M": "male"}
        expected = [names.get(facts[name], facts[name]) for facts in phenotypes]
        assert [data.classes[int(k)] for k in data.target] == expected
    assert set(data.facts[0]) == {"mean_fd", "site", *phenotypes[0]}
    assert data.sites[0] == "site-01" and len(set(data.sites)) == 4
    assert len(splits_of(ProtocolSettings(), data)) == 5


def test_shipped_tasks_on_abide(tmp_path):
    folder = shared("data", "abide")
    sites = sorted(path for path in folder.glob("*.npz") if path.stem != "project_450")
    stores = [
        import_site_archive(site, tmp_path / site.stem, folder / "participants.tsv")
        for site in sites
    ]
    windows = Windows(stores)
    diagnosis, sex, age = (task_data(load_task(n), windows) for n in ("diagnosis", "sex", "age"))
    assert [len(data) for data in (diagnosis, sex, age)] == [312] * 3
    assert np.bincount(diagnosis.target.astype(int)).tolist() == [156, 156]
    assert np.bincount(sex.target.astype(int)).tolist() == [40, 272]  # females, males
    assert diagnosis.classes == ("control", "case")
    assert sorted(set(diagnosis.sites)) == sorted(site.stem for site in sites)
    holdout = splits_of(ProtocolSettings(), diagnosis)
    assert {(len(s.train), len(s.validation), len(s.test)) for s in holdout} == {(188, 62, 62)}
    left_out = splits_of(ProtocolSettings(kind="leave_one_site_out", seeds=1), sex)
    assert len(left_out) == 12  # three sites have males only
    iq = TaskSettings(name="iq", column="fiq", kind="regression", covariates=("age", "site"))
    with_iq = task_data(iq, windows)
    assert with_iq.left_out == {"no fiq": 3} and with_iq.covariates.shape == (309, 13)
    with pytest.raises(ValueError, match="'fiq' of everybody, found 3 of 312 people without it"):
        task_data(diagnosis.task.model_copy(update={"covariates": ("fiq",)}), windows)


NUMBERS = [20.0 + i for i in range(10)]


@pytest.mark.parametrize("code", [-9999.0, "-999", -99, 999, 9999.0, 99])
@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "regression"},
        {"kind": "regression", "column": "x", "covariates": ["y"]},
        {"column": "c", "classes": {"a": ["a"], "b": ["b"]}, "stratify": ["y"]},
        {"column": "c", "include": [{"column": "y"}]},
        {"column": "c", "subgroups": ["y"]},
    ],
    ids=["target", "covariate", "stratum", "rule", "subgroup"],
)
def test_codes_for_missing_are_refused_or_named(code, fields):
    rows = [{"y": v, "x": v**2, "c": "ab"[i % 2]} for i, v in enumerate([*NUMBERS, 50.0, 51.0])]
    rows[-1]["y"] = rows[-2]["y"] = code
    text = (
        f"expected 'y' to be known or n/a, found {float(code):g} of 2 of 12 people, which looks "
        "like a code for missing; write n/a in the participants table, or say missing: "
        rf"\[{float(code):g}\] in the task, or missing: \[\] if it is a value"
    )
    with pytest.raises(ValueError, match=text) as error:
        task_data(task(**fields), cohort(rows))
    assert ID not in str(error.value)
    left_out_where_needed = {"include": [{"column": "y"}], **fields}
    data = task_data(task(**left_out_where_needed, missing=[code]), cohort(rows))
    assert len(data) == 10 and all("y" in known for known in data.facts)
    assert len(task_data(task(**fields, missing=[]), cohort(rows))) == 12


def test_a_code_is_no_class():
    with pytest.raises(ValueError, match="found -9999 of 5 of 15 people, which looks like a code"):
        task_data(task(), cohort(column(*[1, 2, -9999] * 5)))
    assert task_data(task(missing=[-9999]), cohort(column(*[1, 2, -9999] * 5))).classes == (
        "1",
        "2",
    )
    classes = {"no": [1], "yes": [2]}
    assert len(task_data(task(classes=classes), cohort(column(*[1, 2, -9999] * 5)))) == 10


@pytest.mark.parametrize("name", ["age", "AGE_AT_SCAN"])
def test_ages_are_in_years(name):
    rows = [{name: 12 * value} for value in NUMBERS]
    text = f"expected ages of 0 to 120 years in '{name}', found 10 of 10 people outside; correct"
    with pytest.raises(ValueError, match=text):
        task_data(task(column=name, kind="regression"), cohort(rows))
    months = [{"age_months": 12 * value} for value in NUMBERS]
    assert len(task_data(task(column="age_months", kind="regression"), cohort(months))) == 10
