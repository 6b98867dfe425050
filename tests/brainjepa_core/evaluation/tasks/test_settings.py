"""Tasks as they are written: shipped ones, files, and settings that contradict themselves."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from brainjepa_core.evaluation.tasks.settings import SHIPPED, TaskSettings, load_task, shipped_tasks

NAMES = (
    "ad_conversion", "age", "amyloid", "depression", "diagnosis", "flanker", "nc_mci",
    "neuroticism", "sex",
)  # fmt: skip
REGRESSIONS = {"age", "flanker", "neuroticism"}


def test_nine_tasks_are_shipped():
    assert shipped_tasks() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_tasks_are_commented_and_named_after_their_file(name):
    task = load_task(name)
    text = (SHIPPED / f"{name}.yaml").read_text()
    assert task.name == name
    assert text.startswith("# ") and "\n# " in text
    assert (task.kind == "regression") == (name in REGRESSIONS) == (task.classes is None)
    assert load_task(SHIPPED / f"{name}.yaml") == task
    classes = task.classes or {}
    assert all(isinstance(v, str | float) for values in classes.values() for v in values)


def test_what_is_special_of_shipped_tasks():
    assert [name for name in NAMES if load_task(name).within_site] == ["age"]
    classes = load_task("diagnosis").classes
    assert list(classes) == ["control", "case"]  # an AUC is for the case
    assert {"TC", "control"} <= set(classes["control"]) and {"ASD", "case"} <= {*classes["case"]}
    assert list(load_task("nc_mci").classes) == ["NC", "MCI"]
    assert load_task("amyloid").classes["positive"][-1] == 1.0


def test_a_task_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    rule = {"column": "age", "least": 18, "most": 65}
    file.write_text(
        yaml.safe_dump({"name": "iq", "column": "fiq", "kind": "regression", "include": [rule]})
    )
    task = load_task(str(file))
    assert (task.name, task.column, task.covariates) == ("iq", "fiq", ())
    assert (task.include[0].least, task.include[0].most) == (18, 65)
    assert task.subgroups == ("site", "sex", "age", "ancestry")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("diagnosys", r"expected a task of ad_conversion, age, .*, found 'diagnosys'; did you mean "
                      r"diagnosis\?"),
        ("iq", r"a file that ends in \.yaml, found 'iq'; write a YAML file for it"),
        ("../task_files/age", "found 'age'"),
        ("", "found ''"),
    ],
)  # fmt: skip
def test_names_that_nothing_has(name, text):
    with pytest.raises(ValueError, match=text):
        load_task(name)


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml: expected a readable YAML file"):
        load_task(tmp_path / "gone.yaml")
    file = tmp_path / "odd.yml"
    file.write_text("name: a b\nkind: classification\ncolour: red\n")
    with pytest.raises(ValueError, match=r"odd\.yml: .*column: expected a value, found none") as e:
        load_task(file)
    assert "colour: no such field" in str(e.value) and "name: " in str(e.value)
    assert str(tmp_path) not in str(e.value)


def test_the_unit_of_a_number_to_predict():
    """Ages are in years; of another column nothing is made up."""
    assert load_task("age").target_unit == "years" and load_task("sex").target_unit == ""
    plain = {"name": "t", "kind": "regression"}
    units = [
        TaskSettings.model_validate({**plain, **more}).target_unit
        for more in (
            {"column": "age"},
            {"column": "flanker"},
            {"column": "interview_age", "unit": "months"},
        )
    ]
    assert units == ["years", "units of flanker", "months"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "regression", "classes": {"a": ["a"], "b": ["b"]}},
         "numbers without classes for a regression, found 2 classes"),
        ({"classes": {"a": ["a"]}}, "found 1 classes and 1 values, 0 of them repeated"),
        ({"classes": {"a": ["a"], "b": []}}, "found 2 classes and 1 values"),
        ({"classes": {"a": ["x"], "b": ["X", 1]}}, "2 classes and 2 values, 1 of them repeated"),
        ({"covariates": ["age", "y"]}, "expected covariates beside the target, found 'y' as both"),
        ({"include": [{"column": "age", "least": 3, "most": 2}]}, "found least 3 and most 2; swap"),
        ({"include": [{"column": "age", "least": float("nan")}]}, "finite number"),
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves(fields, text):
    with pytest.raises(ValidationError, match=text):
        TaskSettings.model_validate(
            {"name": "t", "column": "y", "kind": "classification", **fields}
        )
