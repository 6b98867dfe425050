"""A task as a study names it, and every question that it comes to at a site."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings, load_task
from brainjepa_core.settings import Frozen, from_its_file, or_one_word, problems_of
from brainjepa_core.wire.contract import TaskQuestion
from brainjepa_core.wire.messages import ProbeRequest, Want

NEWTON_ROUNDS = 30
ATTEMPTS = 2  # a task that was interrupted may be asked again of other sites: other probes
WITHIN_SITES = ProtocolSettings(kind="kfold", seeds=1)
Part = Literal["scores", "probe", "matrix"]


class StudyTask(Frozen):
    """What is asked of all sites about a task; in a YAML, its name alone will do.

    Attributes
    ----------
    task : TaskSettings
        Or the name of a shipped one, or the path of its YAML. Classes are named by their values, so
        that all sites number them alike.
    protocol : ProtocolSettings
        Of the scores within each site; five folds, once, by default.
    pools : tuple of str
        How tokens become one vector a person (docs/evaluation.md).
    penalty : float, optional
        For a task of two classes, also fit a logistic probe with this penalty on standardised
        weights, by Newton's method: some ten more messages.
    parts : tuple of {"scores", "probe", "matrix"}
        What is asked for: each site's own scores, a probe of all sites, one of each site at all
        others.
    """

    model_config = ConfigDict(json_schema_extra=or_one_word)

    task: TaskSettings = Field(json_schema_extra=or_one_word)
    protocol: ProtocolSettings = WITHIN_SITES
    pools: tuple[str, ...] = (HEADLINE,)
    penalty: float | None = Field(None, gt=0)
    parts: tuple[Part, ...] = Field(("scores", "probe", "matrix"), min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, told: Any) -> Any:
        return {"task": told} if isinstance(told, str) else told

    @field_validator("task", mode="before")
    @classmethod
    def _named(cls, task: Any, info: ValidationInfo) -> Any:
        if not isinstance(task, str):
            return task
        is_file = task.endswith((".yaml", ".yml"))
        return load_task(from_its_file(Path(task), info) if is_file else task)

    @model_validator(mode="after")
    def _askable(self) -> Self:
        try:
            self.question("scores")
        except ValidationError as error:
            raise ValueError(problems_of(error)) from error
        return self

    @property
    def classes(self) -> int:
        """How many there are; 0 of a number to predict."""
        return len(self.task.classes or ())

    @property
    def logistic(self) -> bool:
        """Whether a logistic probe is fitted too."""
        return self.penalty is not None and self.classes == 2

    @property
    def can_be_summed(self) -> bool:
        """Whether nothing of it has to be seen of a single site."""
        return self.parts == ("probe",) and self.penalty is None and not self.task.covariates

    def question(self, want: Want, *pools: str) -> ProbeRequest:
        """A question of the task, of all its pools by default."""
        chosen = pools or self.pools
        return ProbeRequest(want=want, task=self.task, protocol=self.protocol, pools=chosen)

    def questions(self) -> tuple[TaskQuestion, ...]:
        """All that a site may be asked about one model, and with how many different arrays."""
        asked: Counter[tuple[Want, tuple[str, ...]]] = Counter()
        together = () if self.task.covariates else self.parts
        if "scores" in self.parts:
            asked["scores", self.pools] = 1
        if "probe" in together:
            asked["sums", self.pools] = 1
        for pool in self.pools:
            if "probe" in together:
                asked["judge", (pool,)] += ATTEMPTS
            if "probe" in together and self.logistic:
                asked["newton", (pool,)] = NEWTON_ROUNDS
                asked["judge", (pool,)] += ATTEMPTS
            if "matrix" in together:
                asked["probe", (pool,)] = 1
                asked["judge", (pool,)] += ATTEMPTS
        return tuple(
            TaskQuestion(probe=self.question(want, *pools), times=times)
            for (want, pools), times in asked.items()
        )
