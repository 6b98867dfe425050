"""A study of the paper as one YAML: variants of a model, what they are asked, the paper's numbers.

A variant is what differs from the settings that all share; each is trained and asked the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from brainjepa_client.settings import PolicySettings
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.methods.model_methods import FINE_TUNED, READ_BY
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings, load_task
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import Frozen, problems_of, read_settings, shipped_or_own
from brainjepa_core.yaml_file import read_yaml
from brainjepa_server.settings import StudySettings
from brainjepa_simulations.cohort.cohort import CohortSettings

SHIPPED = Path(__file__).parent / "studies"
_ALONE = ("sides", "people")  # of transfer, and of attention
IDLE = {  # fields that a kind never reads
    "pretraining": _ALONE,
    "fusion": _ALONE,
    "consortium": _ALONE,
    "transfer": ("people", "protocol"),
    "attention": ("sides", "protocol", "finetune", "read_by"),
}


class Variant(Frozen):
    """What one row of a study is.

    Attributes
    ----------
    pretraining : dict
        Fields that differ from the study's ``pretraining``; nested ones one by one.
    share : float
        Of the people of each site whom the model is pretrained on; a smaller share is part of a
        larger one.
    """

    pretraining: dict[str, Any] = {}
    share: float = Field(1.0, gt=0, le=1)


class Published(Frozen):
    """The paper's own numbers.

    Attributes
    ----------
    source : str
        Where they stand; or why there are none.
    headings : tuple of str
        Of the table's columns.
    rows : tuple of tuple of str
        One cell a heading.
    """

    source: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(
                    f"expected {len(self.headings)} cells in each row, as there are headings, "
                    f"found {len(row)} in that of '{row[0] if row else ''}'; complete it"
                )
        return self


class Consortium(Frozen):
    """How sites train together, beside pooled and each alone: fields of a scenario and its study.

    Attributes
    ----------
    policy : PolicySettings
        Of every virtual site.
    study : dict
        Fields of `StudySettings`, but for ``name`` and ``pretraining``.
    """

    policy: PolicySettings = PolicySettings()
    study: dict[str, Any] = {}


class PaperStudy(Frozen):
    """A study of the paper.

    Attributes
    ----------
    title, asks : str
        What it is called, and the question that it answers.
    kind : {"pretraining", "transfer", "attention", "fusion", "consortium"}
        Variants of pretraining side by side; from some people to others and back; attention
        between networks in two groups of people; a model's answers joined with those of vectors of
        other modalities; trained together, pooled and alone.
    cohort : CohortSettings
        Made-up people, where no data are named.
    tasks : tuple of str
        Shipped ones by name, or YAML files beside this one.
    protocol : ProtocolSettings
        Of everything but ``transfer`` and ``attention``.
    pretraining : dict
        Fields of `PretrainingSettings` that all variants share.
    variants : dict of str to Variant
        By the name that their row has; differences are from the first.
    finetune : FinetuneSettings, optional
        Also fine-tune each model.
    read_by : tuple of str
        Which rows of a model are shown, such as ``probe``; ``fine-tuned`` with `finetune` alone.
    sides : str
        Of ``transfer``: ``site``, which makes halves of them, or a phenotype, each value of which
        is told by the others.
    people : int
        Of ``attention``: how many are looked at, at most.
    named_as_atlas : bool
        Give made-up ROIs the names, and so the places, of some of the shipped atlas.
    consortium : Consortium, optional
    published : Published
    """

    title: str
    asks: str
    kind: Literal["pretraining", "transfer", "attention", "fusion", "consortium"] = "pretraining"
    cohort: CohortSettings
    tasks: tuple[str, ...] = Field(min_length=1)
    protocol: ProtocolSettings = ProtocolSettings(kind="kfold", seeds=1)
    pretraining: dict[str, Any] = {}
    variants: dict[str, Variant] = Field(min_length=1)
    finetune: FinetuneSettings | None = None
    read_by: tuple[str, ...] = ("probe",)
    sides: str = "site"
    people: int = Field(40, ge=2)
    named_as_atlas: bool = False
    consortium: Consortium | None = None
    published: Published

    @model_validator(mode="after")
    def _variants_fit(self) -> Self:
        found = {name: self.pretraining_of(name) for name in self.variants}
        if len({one.windows for one in found.values()}) > 1:
            raise ValueError(
                "expected the same windows in all variants, which are asked of the same people, "
                "found others; set windows in pretraining"
            )
        if (self.kind == "consortium") != (self.consortium is not None):
            raise ValueError(
                f"expected consortium with kind: consortium and with no other, found kind: "
                f"{self.kind}; change one of the two"
            )
        if self.kind not in ("pretraining",) and len(self.variants) > 1:
            raise ValueError(
                f"expected one variant with kind: {self.kind}, found {len(self.variants)}; leave "
                "the others out"
            )
        self._require_read()
        if self.consortium is not None:
            self.together()
        return self

    def _require_read(self) -> None:
        """Refuse what this kind of study never looks at."""
        idle = [
            name
            for name in IDLE[self.kind]
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.kind in ("transfer", "consortium"):
            idle += [f"variants.{n}.share" for n, one in self.variants.items() if one.share < 1]
        if idle:
            raise ValueError(
                f"expected no {', '.join(idle)} with kind: {self.kind}, which never reads it; "
                "leave it out"
            )
        if self.kind == "attention" and len(self.tasks) > 1:
            raise ValueError(
                f"expected one task with kind: attention, found {len(self.tasks)}; leave the "
                "others out"
            )
        unknown = [name for name in self.read_by if name not in READ_BY]
        if unknown:
            near = difflib.get_close_matches(unknown[0], READ_BY, n=1)
            raise ValueError(
                f"expected read_by of {', '.join(READ_BY)}, found '{unknown[0]}'; "
                f"{f'did you mean {near[0]}?' if near else 'take some of these'}"
            )
        if (FINE_TUNED in self.read_by) != (self.finetune is not None):
            raise ValueError(
                f"expected finetune and {FINE_TUNED} in read_by together, found one "
                "of them; add the other, or leave both out"
            )

    def pretraining_of(self, variant: str) -> PretrainingSettings:
        """Settings that a variant is trained by.

        Raises
        ------
        ValueError
            Naming the variant and every field that does not fit.
        """
        merged = merge(self.pretraining, self.variants[variant].pretraining)
        try:
            return PretrainingSettings.model_validate(merged)
        except ValidationError as error:
            raise ValueError(f"variants.{variant}: {problems_of(error)}") from error

    def together(self) -> StudySettings:
        """The study of the consortium's sites."""
        assert self.consortium is not None
        (variant,) = self.variants
        told = {"name": "paper-study", **self.consortium.study}
        try:
            return StudySettings.model_validate(
                {**told, "pretraining": self.pretraining_of(variant).model_dump()}
            )
        except ValidationError as error:
            raise ValueError(f"consortium.study: {problems_of(error)}") from error

    def read_tasks(self, folder: Path) -> list[TaskSettings]:
        """The tasks; files start at a folder."""
        return [load_task(folder / t if t.endswith((".yaml", ".yml")) else t) for t in self.tasks]


def merge(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Nested fields of `own` in the place of those of `shared`."""
    both = {
        name: merge(shared[name], value)
        if isinstance(value, Mapping) and isinstance(shared.get(name), Mapping)
        else value
        for name, value in own.items()
    }
    return {**shared, **both}


def shipped_studies() -> dict[str, str]:
    """What each shipped study asks, by its name."""
    found = {file.stem: read_yaml(file).content for file in sorted(SHIPPED.glob("*.yaml"))}
    return {name: str(told["asks"]) for name, told in found.items()}


def study_file(name: str) -> Path:
    """The file of a shipped study, or one's own.

    Raises
    ------
    ValueError
        If there is none of the name.
    """
    return shipped_or_own(name, SHIPPED, "study")


def load_study(name: str) -> PaperStudy:
    """A shipped study by its name, or one's own YAML; raises as `study_file` does."""
    return read_settings(study_file(name), PaperStudy)
