"""A commented YAML is one: as it stands, and with every comment of a key taken away."""

from __future__ import annotations

import re

import pytest
import yaml

from brainjepa_client.settings import SiteSettings
from brainjepa_core.command.commented_yaml import commented_yaml
from brainjepa_core.command.settings_schema import explained
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.settings import read_settings
from brainjepa_server.settings import StudySettings

STUDY = {"name": "first", "pretraining": {"training": {"schedule": {"total_steps": 1000}}}}


def uncommented(text: str) -> str:
    return re.sub(r"^( *)#((?:  )*\w+:)", r"\1\2", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("kind", "values"),
    [(StudySettings, STUDY), (ProtocolSettings, {"kind": "kfold"}), (FinetuneSettings, {})],
)
def test_it_is_read_as_what_it_says(kind, values, tmp_path):
    text = commented_yaml(kind, values, "A file.")
    (tmp_path / "a.yaml").write_text(text)
    assert read_settings(tmp_path / "a.yaml", kind) == kind.model_validate(values)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("kind", "values"), [(ProtocolSettings, {"kind": "kfold"}), (FinetuneSettings, {})]
)
def test_its_comments_are_the_defaults(kind, values, tmp_path):
    text = uncommented(commented_yaml(kind, values, "A file."))
    assert set(yaml.safe_load(text)) == set(kind.model_fields)
    (tmp_path / "a.yaml").write_text(text)
    assert read_settings(tmp_path / "a.yaml", kind) == kind.model_validate(values)


def test_every_key_of_a_study_is_in_it_and_keeps_its_place():
    text = commented_yaml(StudySettings, STUDY, "A study.")
    assert "\npretraining:\n" in text
    assert "\n  training:\n" in text and "\n      total_steps: 1000\n" in text
    assert "\n  #windows:\n" in text and "\n  #  frames: 160\n" in text
    assert "\n#rounds:\n" in text and "\n#  local_steps: 50\n" in text
    told = yaml.safe_load(uncommented(text))
    assert set(told) == set(StudySettings.model_fields)
    assert told["rounds"]["local_steps"] == 50 and told["pretraining"]["windows"]["frames"] == 160


def test_a_key_is_explained_with_the_words_it_takes():
    text = commented_yaml(SiteSettings, {"name": "a", "store": "b", "state": "c"}, "A site.")
    assert explained(SiteSettings)["name"] in text
    kinds = "One of: fmriprep, hcp, xcpd, ukb, series, archive."
    assert kinds in re.sub(r"\n *# ", " ", text)
