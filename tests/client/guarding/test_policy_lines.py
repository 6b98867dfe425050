"""Where each field of a site's policy is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_client.guarding.policy_lines import PolicyLine, policy_lines
from brainjepa_client.settings import PolicySettings

SHIPPED = Path(__file__).parents[3] / "site_configs" / "site.yaml"


def lines_of(path: Path) -> dict[str, PolicyLine]:
    content = yaml.safe_load(path.read_text()) or {}
    return policy_lines(path, PolicySettings(**content.get("policy", {})))


def test_every_field_of_the_shipped_file_is_where_it_says():
    lines = lines_of(SHIPPED)
    text = SHIPPED.read_text().splitlines()
    assert lines.keys() == PolicySettings.model_fields.keys()
    for field, line in lines.items():
        assert text[line.line - 1].strip().startswith(f"{field}: {line.value}")
    assert str(lines["allow"]) == (
        "site.yaml line 19: allow: [describe, gradients, train, evaluate]"
    )


def test_what_the_file_leaves_out_is_the_default(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: one\npolicy:\n  # fewer\n  allow:\n  - describe\n")
    lines = lines_of(path)
    assert str(lines["allow"]) == "mine.yaml line 4: allow: [describe]"
    assert str(lines["min_subjects"]) == "default: min_subjects: 20"
    assert str(lines["reset_optimizer"]) == "default: reset_optimizer: false"


@pytest.mark.parametrize("text", ["", "name: one\n", "policy: {}\n"])
def test_a_file_without_a_policy(tmp_path, text):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert {line.line for line in lines_of(path).values()} == {None}


def test_lines_are_those_that_yaml_itself_takes(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "strict: &strict\n  min_subjects: 50\n  min_people_in_sum: 9\n"
        "policy:\n  <<: *strict\n  min_people_in_sum: 4\n  allow: [describe]\n"
    )
    lines = lines_of(path)
    assert (lines["min_subjects"].line, lines["min_subjects"].value) == (2, "50")
    assert (lines["min_people_in_sum"].line, lines["min_people_in_sum"].value) == (6, "4")
    assert (lines["allow"].line, lines["allow"].value) == (7, "[describe]")


def test_a_policy_written_twice_is_refused(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("policy:\n  min_subjects: 50\nname: one\npolicy:\n  min_subjects: 1\n")
    with pytest.raises(ValueError) as error:
        policy_lines(path, PolicySettings())
    assert str(error.value) == (
        "site.yaml line 4, column 1: expected YAML, found 'policy' a second time (first in line 1);"
        " keep one of the two"
    )


NUMBERS = st.sampled_from(["min_subjects", "min_people_in_sum", "round_counts_to"])


@given(
    policy=st.dictionaries(NUMBERS, st.integers(1, 99), min_size=1),
    before=st.integers(0, 3),
    flow=st.booleans(),
)
def test_the_line_of_any_policy_holds_its_field(tmp_path_factory, policy, before, flow):
    path = tmp_path_factory.mktemp("site") / "site.yaml"
    body = yaml.safe_dump({"name": "one", "policy": policy}, default_flow_style=flow)
    path.write_text("# a comment\n" * before + body)
    text = path.read_text().splitlines()
    for field, line in lines_of(path).items():
        assert (line.line is not None) == (field in policy)
        if line.line is not None:
            assert f"{field}: {policy[field]}" in text[line.line - 1]
