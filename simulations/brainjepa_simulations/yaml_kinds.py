"""Every kind of YAML that a command reads, by the word that `brainjepa schema` takes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from pydantic import BaseModel

Kind = Literal[
    "site",
    "study",
    "pretraining",
    "scenario",
    "task",
    "protocol",
    "finetune",
    "paper_study",
    "cohort",
]


@dataclass(frozen=True)
class YamlKind:
    """A kind of YAML.

    Attributes
    ----------
    home : str
        Module and name of its settings, imported when they are asked for.
    read_by : str
        Commands that read such a file.
    """

    home: str
    read_by: str

    @property
    def settings(self) -> type[BaseModel]:
        """The model that such a file is read into."""
        module, _, name = self.home.partition(":")
        found: type[BaseModel] = getattr(import_module(module), name)
        return found


YAML_KINDS: dict[Kind, YamlKind] = {
    "site": YamlKind("brainjepa_client.settings:SiteSettings", "`brainjepa site ...`"),
    "study": YamlKind(
        "brainjepa_server.settings:StudySettings", "`brainjepa server propose`, `start`, `plan`"
    ),
    "pretraining": YamlKind(
        "brainjepa_core.pretraining.settings:PretrainingSettings",
        "`brainjepa pretrain`, `measure`, `site dry-run`; the field `pretraining` of a study",
    ),
    "scenario": YamlKind(
        "brainjepa_simulations.scenario:Scenario",
        "`brainjepa simulate`, `paint`, `consortium try`",
    ),
    "task": YamlKind(
        "brainjepa_core.evaluation.tasks.settings:TaskSettings",
        "`--task` of `brainjepa evaluate`, `evaluate-sites`, `site probe` and others",
    ),
    "protocol": YamlKind(
        "brainjepa_core.evaluation.tasks.protocols:ProtocolSettings",
        "`--protocol` of `brainjepa evaluate`, `site evaluate` and `site probe`",
    ),
    "finetune": YamlKind(
        "brainjepa_core.evaluation.learning.finetune_settings:FinetuneSettings",
        "`brainjepa site finetune --settings`, `evaluate --finetune`",
    ),
    "paper_study": YamlKind(
        "brainjepa_simulations.paper_studies.settings:PaperStudy", "`brainjepa simulate study`"
    ),
    "cohort": YamlKind(
        "brainjepa_core.signals.tables.cohorts.recipes:CohortRecipe", "`brainjepa phenotypes`"
    ),
}
