"""Settings files: every way to get one wrong ends in a line that names the place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import FilePath, Frozen, flatten, read_settings


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(16, ge=1)
    tr: float = 2.0


class Outer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "study"
    trs: tuple[float, ...] = ()
    window: Inner = Inner()
    masks: dict[str, int] = {}

    @model_validator(mode="after")
    def _fits(self) -> Outer:
        if self.window.frames > 100:
            raise ValueError(f"expected at most 100 frames, found {self.window.frames}; lower it")
        return self


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    steps: int


def read(folder: Path, text: str, kind: type[BaseModel] = Outer):
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    return read_settings(folder / "study.yaml", kind)


def refusal(folder: Path, text: str, kind: type[BaseModel] = Outer) -> str:
    with pytest.raises(ValueError) as error:
        read(folder, text, kind)
    return str(error.value)


def test_fields_are_read(tmp_path):
    text = "name: α\ntrs: [2, 2.5]\nwindow:\n  frames: 8  # short\nmasks: {a: 1}\n"
    expected = Outer(name="α", trs=(2.0, 2.5), window=Inner(frames=8), masks={"a": 1})
    assert read(tmp_path, text) == expected
    assert read_settings(str(tmp_path / "study.yaml"), Outer) == expected


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n", "---\n", "null\n"])
def test_an_empty_file_means_the_defaults(tmp_path, text):
    assert read(tmp_path, text) == Outer()
    assert refusal(tmp_path, text, Strict) == (
        "study.yaml: steps: expected a value, found none; add the field"
    )


def test_a_study_survives_the_way_through_a_file(tmp_path):
    study = PretrainingSettings(recipe="published", model={"width": 32}, windows={"frames": 32})
    assert (
        read(tmp_path, yaml.safe_dump(study.model_dump(mode="json")), PretrainingSettings) == study
    )
    assert read(tmp_path, "", PretrainingSettings) == PretrainingSettings()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nmae: x", " line 1: nmae: no such field; check the spelling or remove it"),
        (
            "name: x\nwindow:\n  tr: 2\n  frame: 3",
            " line 4: window.frame: no such field; check the spelling or remove it",
        ),
        (
            "name: 3",
            " line 1: name: expected text (in quotes, where it looks like a number), found 3; "
            "correct it",
        ),
        (
            "window:\n  frames: many",
            " line 2: window.frames: expected a whole number, found 'many'; correct it",
        ),
        (
            "window: {frames: 0}",
            " line 1: window.frames: expected a number of at least 1, found 0; correct it",
        ),
        (
            "trs:\n- 2\n- x",
            " line 3: trs.1: expected a number, found 'x'; correct it",
        ),
        # A sentence of our own says itself what was found.
        (
            "window: {frames: 101}",
            ": expected at most 100 frames, found 101; lower it",
        ),
        (
            "1: 2",
            " line 1: 1: expected the name of a field (in quotes, where it looks like a number), "
            "found 1; correct it",
        ),
        (
            "nmae: x\nwindow: {frames: 0}",
            " line 1: nmae: no such field; check the spelling or remove it\n"
            "study.yaml line 2: window.frames: expected a number of at least 1, found 0; "
            "correct it",
        ),
    ],
)
def test_a_field_that_does_not_fit_is_named(tmp_path, text, problem):
    assert refusal(tmp_path, text) == f"study.yaml{problem}"


def test_a_missing_field_deep_inside_is_named(tmp_path):
    assert refusal(tmp_path, "training: {seed: 1}", PretrainingSettings) == (
        "study.yaml line 1: training.schedule: expected a value, found none; add the field"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- name: x", "a list"),
        ("name", "a text"),
        ("3", "a number"),
        ("true", "true or false"),
        ("2026-01-01", "something else"),
    ],
)
def test_something_else_than_fields_is_refused(tmp_path, text, found):
    assert refusal(tmp_path, text) == (
        f"study.yaml line 1: expected fields with values, found {found}; "
        "write one 'field: value' a line"
    )


class Placed(Frozen):
    store: FilePath
    tables: tuple[FilePath, ...] = ()


def test_paths_start_at_the_file(tmp_path, monkeypatch):
    (tmp_path / "sites").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    text = "store: ../stores/a\ntables: [b.tsv, ~/c.tsv, /d.tsv]"
    found = read(tmp_path / "sites", text, Placed)
    assert found.store == tmp_path / "sites" / ".." / "stores" / "a"
    assert found.tables == (tmp_path / "sites" / "b.tsv", tmp_path / "me" / "c.tsv", Path("/d.tsv"))
    monkeypatch.chdir(tmp_path)
    assert read_settings("sites/study.yaml", Placed).tables[0] == Path("sites/b.tsv")
    monkeypatch.chdir(tmp_path / "sites")
    assert read_settings("study.yaml", Placed).store == Path("../stores/a")
    assert Placed(store="stores/a").store == Path("stores/a")  # nobody's file


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
fields = st.sampled_from(["name", "trs", "window", "masks", "frames", "tr"]) | scalars
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=3),
    max_leaves=8,
)


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet="aname: -[]{}&*!|>'\"#%\n\t0x_.1é", max_size=40) | trees.map(yaml.dump)
)
@example("&a {window: *a}")
@example("name: \ud800".encode("utf-8", "surrogatepass").decode("latin-1"))
@example('name: "\\ud800"')
@example('"\\ud800": 1')
def test_any_text_gives_settings_or_a_clear_line_a_problem(tmp_path, text):
    try:
        found = read(tmp_path, text)
    except ValueError as error:
        assert type(error) is ValueError
        lines = str(error).split("\n")
        assert all(re.match(r"study\.yaml( line \d+(, column \d+)?)?: ", line) for line in lines)
    else:
        assert isinstance(found, Outer)


def test_flatten():
    found = dict(flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1, 2]}))
    assert found == {"a.b.c": 1, "a.d": {}, "e": [1, 2]}
