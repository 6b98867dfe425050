"""Figures of evaluations in a card that is there: in text and head, once each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from shared_models import model_in_folder

from brainjepa_core.models.sharing.card import CARD, Figure, ModelCard, read_card, write_card
from brainjepa_core.models.sharing.measured import Measured, with_figures

HOME = Measured(
    "40 people, kfold",
    (
        Figure("m: probe", "age", "r", 0.41234, 0.3, 0.5, 40),
        Figure("FC | <b>", "age", "r", 0.35, 0.2, 0.4, 40),
        Figure("m: probe", "age", "r above FC", 0.06, -0.1, 0.2),
    ),
    frozenset({"m: probe"}),
)
AWAY = replace(HOME, whose="900 people, leave_one_site_out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model_in_folder(tmp_path / "model")
    return tmp_path / "model"


def head(text: str) -> dict:
    return yaml.safe_load(text.split("---\n", 2)[1])


def section(text: str) -> str:
    return text.split("## What was measured\n")[1].split("\n## ")[0]


def test_a_card_that_says_nothing_gets_the_figures(folder):
    before = read_card(folder, "m")
    text = with_figures(before, HOME)
    assert section(text) == (
        "\n### age, 40 people, kfold\n\n"
        "| model | of | metric | value | 95 % interval | people |\n"
        "|---|---|---|---|---|---|\n"
        "| m: probe | age | r | 0.412 | 0.300 to 0.500 | 40 |\n"
        "| FC \\| &lt;b> | age | r | 0.350 | 0.200 to 0.400 | 40 |\n"
        "| m: probe | age | r above FC | 0.060 | -0.100 to 0.200 | not known |\n"
    )
    ((index,),) = (head(text)["model-index"],)
    assert index["name"] == "m" and [r["metrics"][0]["value"] for r in index["results"]] == [
        0.4123,
        0.06,
    ]
    assert {k: v for k, v in head(text).items() if k != "model-index"} == head(before)
    assert text.split("## Limits")[1] == before.split("## Limits")[1] and "\n\n\n" not in text


def test_an_evaluation_replaces_itself_and_stands_beside_others(folder):
    told = {"figures": (Figure("ours", "age", "r", 0.1),), "measured": ("It is ahead.",)}
    card = ModelCard(name="m", summary="A model.", own="ours", **told)
    write_card(folder, card)
    text = (folder / CARD).read_text()
    for one in (HOME, AWAY, HOME, replace(AWAY, figures=AWAY.figures[1:])):
        text = with_figures(text, one)
    told = section(text)
    assert told.count("### age, 40 people") == told.count("### age, 900 people") == 1
    assert "| ours | age | r | 0.100 |" in told and "- It is ahead." in told
    (index,) = head(text)["model-index"]
    names = [result["dataset"]["name"] for result in index["results"]]
    assert sorted(names) == [
        "age, 40 people, kfold", "age, 40 people, kfold", "age, 900 people, leave_one_site_out",
        "age, people of the sites",
    ]  # fmt: skip
    alone = with_figures(read_card(folder, "m"), replace(HOME, own=frozenset()))
    assert len(head(alone)["model-index"][0]["results"]) == 1


def test_where_nothing_is_known_of_the_model_the_head_has_no_index(folder):
    text = with_figures(read_card(folder, "m"), replace(HOME, own=frozenset()))
    assert "model-index" not in head(text) and "### age, 40 people, kfold" in text


@pytest.mark.parametrize("text", ["mine", "---\na: 1\n---\n# m\n", "## What was measured\n"])
def test_a_card_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="the heading '## What was measured', found one without"):
        with_figures(text, HOME)
