"""The page of families: every one is there, and its recipes are settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from brainjepa_core.models.registry import SHIPPED
from brainjepa_core.pretraining.settings import PretrainingSettings

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
RECIPES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]


def test_every_family_is_on_the_page():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", PAGE, re.M)
    assert sorted(rows[: len(SHIPPED)]) == sorted(SHIPPED)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["family"])
def test_recipes_are_settings(recipe):
    study = PretrainingSettings.model_validate(recipe)
    assert study.recipe == "published" and study.model_settings(450).tokens
