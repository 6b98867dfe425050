"""The bench's command: a table, JSON and a page of what attacks find."""

from __future__ import annotations

import json

import pytest
from click import unstyle
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_simulations.attacks import registry
from brainjepa_simulations.attacks.attack import CLIPPED_MEAN, CONTRACT, NONE, Attack, Row
from brainjepa_simulations.attacks.bench import broken, require_attacks, run_bench
from brainjepa_simulations.attacks.page import PAGE, drawn, scale_of
from brainjepa_simulations.attacks.registry import ATTACKS
from brainjepa_simulations.scenario import read_scenario


def run(*words: str):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command(), ["simulate", "attack", *words])
    return result.exit_code, unstyle(result.stdout), unstyle(result.stderr)


def test_one_attack_as_a_table_that_is_whole_at_eighty_columns(tmp_path):
    code, told, beside = run("--only", "folds", "--out", str(tmp_path / "out"))
    assert code == 0, beside
    assert max(map(len, told.splitlines())) <= 80 and "…" not in told
    words = " ".join(told.replace("│", " ").split())
    assert "people whose connectivity is known, none 40 - of 40" in words
    assert "people whose connectivity is known, contract 0 0 of 40" in words
    page = (tmp_path / "out" / PAGE).read_text()
    assert "1 of 1 ceilings hold." in page and "solve for the people" in page
    (found,) = json.loads((tmp_path / "out" / "attacks.json").read_text())
    assert [(row["protection"], row["found"], row["at_most"]) for row in found["rows"]] == [
        ("none", 40.0, None),
        ("contract", 0.0, 0.0),
    ]


def test_json_alone_on_the_output():
    code, told, _ = run("--only", "folds", "--json")
    (found,) = json.loads(told)
    assert code == 0 and found["attack"] == "folds" and found["rows"][1]["held"] is True


def test_an_attack_that_is_none():
    code, _, told = run("--only", "magic")
    assert code == 1
    assert "expected attacks among folds, two-settings" in told and "found 'magic'; correct" in told


def test_people_who_are_not_made_up_are_not_attacked(tmp_path):
    scenario = read_scenario("attacked").model_copy(update={"cohort": None, "data": tmp_path})
    with pytest.raises(ValueError, match=r"expected a scenario with a cohort, .* found one with"):
        list(run_bench(scenario, ["folds"]))


def test_a_protection_that_does_not_hold_is_told(monkeypatch):
    rows = (Row("people found", NONE, 3.0), Row("people found", CONTRACT, 2.0, 0.0))
    monkeypatch.setitem(registry.ATTACKS, "folds", Attack("folds", "Tries.", lambda scene: rows))
    code, told, beside = run("--only", "folds")
    assert code == 1 and "contract" in told
    assert "found 1 that do not (folds: people found 2 with contract, at most 0)" in beside
    (found,) = run_bench(read_scenario("attacked"), ["folds"])
    assert broken([found]) == ["folds: people found 2 with contract, at most 0"]


def test_attacks_in_the_order_of_the_table():
    assert require_attacks(()) == tuple(ATTACKS)
    assert require_attacks(["canary", "folds"]) == ("folds", "canary")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "name",
    [
        "membership",
        "membership-by-people",
        "mean-connectivity",
        "poisoning",
        "poisoning-rounds",
        "backdoor",
        "canary",
    ],
)
def test_ceilings_hold(name):
    """And what is found without a protection is more, or the attack would be none."""
    (found,) = run_bench(read_scenario("attacked"), [name])
    assert broken([found]) == []
    assert any(row.protection == NONE for row in found.rows)
    assert len(drawn([found]).axes) == len({scale_of(row) for row in found.rows})
    if name == "membership":
        told = {row.what: row.found for row in found.rows}
        assert told["AUC by loss, a site's weights"] > 0.7
    if name == "membership-by-people":
        few, few_with_noise, many, _ = (row.found for row in found.rows)
        assert few > 0.8 > many > 0.54 and few_with_noise < few
    if name == "canary":
        bare, private = found.rows
        assert bare.found > private.at_most > private.found
    if name == "backdoor":
        told = {row.protection: row.found for row in found.rows}
        assert told[NONE] > 0.5 and told[CLIPPED_MEAN] < 0.1
