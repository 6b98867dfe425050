"""A card says what is known, in the Hub's form, and "not known" of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from shared_models import model_in_folder

from brainjepa_core.models.sharing.card import (
    CARD,
    UNSTATED,
    Figure,
    ModelCard,
    SiteData,
    read_card,
    with_licence,
    write_card,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model_in_folder(tmp_path / "model")
    return tmp_path / "model"


def head(text: str) -> dict:
    start, head, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head)


def told() -> ModelCard:
    return ModelCard(
        name="pilot",
        summary="A model.",
        sites=(SiteData("Lyon", 120, 240), SiteData("Graz | <b>x</b>\n# y")),
        figures=(
            Figure("ours", "age", "r", 0.41234, 0.3, 0.5, 80),
            Figure("other", "age", "r", 0.2),
            Figure("ours", "sex", "auc", None),
        ),
        own="ours",
    )


def test_what_is_known_stands_there_and_what_is_not_says_so(folder):
    write_card(folder, told())
    text = (folder / CARD).read_text()
    assert "| Lyon | 120 | 240 |" in text
    assert "| Graz \\| &lt;b>x&lt;/b> # y | not known | not known |" in text
    assert "| ours | age | r | 0.412 | 0.300 to 0.500 | 80 |" in text
    assert "| other | age | r | 0.200 | not known | not known |" in text
    assert "| ours | sex | auc | not known | not known | not known |" in text
    assert "one each 2.0 s" in text and "6, atlas a\\|b" in text and UNSTATED in text
    assert "\n\n\n" not in text and "None" not in text


def test_the_head_is_what_the_hub_reads(folder):
    write_card(folder, told())
    found = head((folder / CARD).read_text())
    assert found["license"] == "unknown" and "federated-learning" in found["tags"]
    ((model),) = found["model-index"]
    (result,) = model["results"]  # its own figures that are known
    assert result["metrics"] == [{"type": "r", "value": 0.4123}]
    assert {"type", "name"} <= result["dataset"].keys() and "type" in result["task"]


def test_a_folder_without_a_card_gets_what_it_says_of_itself(folder):
    text = read_card(folder, "old")
    assert "# old" in text and "Not known: this folder does not say" in text
    assert "model-index" not in head(text) and "federated-learning" not in head(text)["tags"]
    (folder / CARD).write_text("mine")
    assert read_card(folder, "old") == "mine"


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC-BY-NC-SA-3.0", {"license": "cc-by-nc-sa-3.0"}),
        ("by agreement\nof us", {"license": "other", "license_name": "by-agreement-of-us"}),
    ],
)
def test_a_licence_is_in_head_and_text(folder, licence, expected):
    text = with_licence(read_card(folder, "m"), licence)
    assert expected.items() <= head(text).items()
    assert f"{' '.join(licence.split())}. The weights are under the same terms." in text
    with pytest.raises(ValueError, match="expected a card that does not state the licence"):
        with_licence(text, "mit")
    with pytest.raises(ValueError, match="expected the licence of the data, such as"):
        with_licence(text, " ")
