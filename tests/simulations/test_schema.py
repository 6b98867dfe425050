"""JSON schemas of YAML files take what is read, refuse what is not, and explain each field."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.command.settings_schema import explained, schema_of
from brainjepa_core.evaluation.tasks.settings import SHIPPED
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.tables.cohorts.recipes import SHIPPED as COHORTS
from brainjepa_simulations.paper_studies.settings import SHIPPED as STUDIES
from brainjepa_simulations.scenario import SCENARIOS
from brainjepa_simulations.yaml_kinds import YAML_KINDS

SAMPLES = Path(__file__).parents[2] / "site_configs"
SCHEMAS = {kind: schema_of(found.settings) for kind, found in YAML_KINDS.items()}
FILES = [
    *(("scenario", path) for path in sorted(SCENARIOS.glob("*.yaml"))),
    *(("paper_study", path) for path in sorted(STUDIES.glob("*.yaml"))),
    *(("cohort", path) for path in sorted(COHORTS.glob("*.yaml"))),
    *(("task", path) for path in sorted(SHIPPED.glob("*.yaml"))),
    *(
        (re.search(r"schema=schemas/(\w+)\.json", path.read_text())[1], path)
        for path in sorted(SAMPLES.glob("*.yaml"))
    ),
]


def problems(kind: str, content: object) -> list[str]:
    found = jsonschema.Draft202012Validator(SCHEMAS[kind]).iter_errors(content)
    return [error.message for error in found]


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[path.stem for _, path in FILES])
def test_what_is_shipped_fits(kind, path):
    assert problems(kind, yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_the_files_for_editors_are_those_that_the_command_prints(kind):
    result = CliRunner().invoke(command(), ["schema", kind])
    assert result.exit_code == 0
    stored = (SAMPLES / "schemas" / f"{kind}.json").read_text()
    assert result.stdout == stored, "settings have changed since; run make schemas"
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_every_field_is_explained(kind):
    schema = SCHEMAS[kind]
    models = {kind: schema, **schema.get("$defs", {})}
    for name, model in models.items():
        whole = model.get("anyOf", [model])[-1]
        assert whole["description"]
        for field, found in whole["properties"].items():
            kinds = [found, *found.get("anyOf", ()), found.get("items", {})]
            assert "description" in found or any("$ref" in k for k in kinds), (name, field)


@pytest.mark.parametrize(
    ("kind", "content", "found"),
    [
        ("site", {"name": "a", "store": "a", "stat": "b"}, "'stat' was unexpected"),
        ("site", {"name": "a", "store": "a"}, "'state' is a required property"),
        ("task", {"name": "a", "column": "a", "kind": "rank"}, "'rank' is not one of"),
        ("protocol", {"folds": 1}, "1 is less than the minimum of 2"),
        ("finetune", {"steps": "many"}, "'many' is not of type 'integer'"),
    ],
)
def test_what_would_be_refused_is_underlined(kind, content, found):
    assert any(found in text for text in problems(kind, content))


@pytest.mark.parametrize(
    "study",
    [
        {"protect": "secure_sum"},
        {"protect": "dp"},
        {"protect": "none"},
        {"protect": {"secure_sum": {"clip": 2.0}, "groups": 3}},
        {"tasks": ["age", {"task": "diagnosis", "parts": ["probe"]}]},
        {"tasks": [{"task": {"name": "a", "column": "a", "kind": "regression"}}]},
    ],
)
def test_one_word_may_stand_for_fields(study):
    assert problems("study", {"name": "a", "pretraining": {}, **study}) == []


def test_numbers_that_stand_for_names_fit():
    prepare = {"input": {"kind": "hcp", "folder": "a", "res": 2}}
    site = {"name": "a", "store": "a", "state": "b", "prepare": prepare}
    assert problems("site", site) == []


def test_a_docstring_tells_of_several_fields_at_once():
    told = explained(InputSettings)
    assert told["res"] == told["den"] == told["cohort"]
    assert told["names"] == "For series: ROI names, one a line, in the order of columns."
