"""A study: model and recipe, who must be there, how rounds go, how replies become one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.consortium.summing import FEWEST
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.privacy.study import StudyPrivacy
from brainjepa_core.settings import FilePath, Frozen
from brainjepa_core.wire.groups import require_groups
from brainjepa_core.wire.messages import Assignment, Target, Wire
from brainjepa_core.wire.protection import NONE, SECURE_SUM, ProtectSettings
from brainjepa_server.private_settings import require_accounted
from brainjepa_server.tasks.settings import StudyTask

COMPONENTS = 20  # of connectivity, that the yardstick asks for


class FloorSettings(Frozen):
    """Fewest sites and subjects behind the consensus; a basis of few people is about those people.

    A study and a site may raise the published floors; only a demo's scenario lowers them.

    Attributes
    ----------
    sites : int
        Whose sums are there.
    subjects_per_site : int
        Below which a site's sums are left out.
    subjects : int
        Of all sites together.
    """

    sites: int = Field(3, ge=1)
    subjects_per_site: int = Field(20, ge=1)
    subjects: int = Field(200, ge=1)


class RoundSettings(Frozen):
    """How rounds go.

    Attributes
    ----------
    local_steps : int
        Optimiser steps of a site in one round; the schedule's total must be a multiple.
    quorum : int
        Usable replies a round needs.
    sites : int, optional
        Sites asked in a round, drawn by round number; all by default.
    deadline : float
        Seconds the coordinator waits for a round's replies.
    joining_time : float
        Seconds it waits for sites before the consensus is made; no longer than until those of the
        roster are there.
    evaluate_every : int
        Rounds between evaluations; the last round is always evaluated.
    evaluate_people : int
        Of how many people of a site an evaluation reads at most, the same ones in every round.
    keep_every : int
        Every so many rounds one stays on disk, beside the newest two and the best, so that a study
        can go back to before somebody who withdraws.
    retries : int
        How often a round that had too few usable replies is tried again before the study ends; it
        waits for sites that went, up to the joining time.
    """

    local_steps: int = Field(50, ge=1)
    quorum: int = Field(3, ge=1)
    sites: int | None = Field(None, ge=1)
    deadline: float = Field(3600.0, gt=0)
    joining_time: float = Field(600.0, gt=0)
    evaluate_every: int = Field(1, ge=1)
    evaluate_people: int = Field(500, ge=1)
    keep_every: int = Field(10, ge=1)
    retries: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _reachable(self) -> RoundSettings:
        if self.sites is not None and self.sites < self.quorum:
            raise ValueError(
                f"expected quorum of at most the {self.sites} sites asked in a round, found "
                f"{self.quorum}; lower quorum or raise sites"
            )
        return self


class OuterSettings(Frozen):
    """What the coordinator does with the sites' mean difference.

    Attributes
    ----------
    kind : {"fedavg", "fedavgm", "fedadam"}
        The mean itself; a step with momentum along it; one of Adam.
    lr, momentum, beta2, epsilon : float
        `momentum` is Nesterov's in fedavgm (DiLoCo: lr 0.7, momentum 0.9) and beta1 in fedadam.
    """

    kind: Literal["fedavg", "fedavgm", "fedadam"] = "fedavg"
    lr: float = Field(1.0, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)


class AggregationSettings(Frozen):
    """How replies become one difference.

    Attributes
    ----------
    combine : {"mean", "trimmed_mean", "median"}
        The last two bound each weight by itself, and every site counts the same in them; from
        five sites on, with fewer too little is left. Of groups' means (``protect.groups``) it is
        one of these two.
    trim : float
        Share cut from either end by ``trimmed_mean``.
    shares : {"scans", "subjects", "equal"}
        What a site's reply counts by in a mean; of three sites or more none counts by more than
        2 / sites of the whole.
    target : {"average", "line", "local"}
        What becomes of the target encoder: sent up and averaged; re-derived by the coordinator; or
        kept at the site.
    wire : {"fp32", "bf16", "int8"}
        How weights travel up: themselves, or differences (`brainjepa_core.wire.weights`).
    clip_norm, max_norm : float
        Norms of a site's difference, as multiples of the round's median norm: what a mean shortens
        it to, and what is left out altogether. Of three sites or more.
    proximal : float
        FedProx's mu at the sites.
    reset_optimizer : bool
        Start every round with fresh AdamW moments.
    outer : OuterSettings
    """

    combine: Literal["mean", "trimmed_mean", "median"] = "mean"
    trim: float = Field(0.2, gt=0, lt=0.5)
    shares: Literal["scans", "subjects", "equal"] = "scans"
    target: Target = "average"
    wire: Wire = "fp32"
    clip_norm: float = Field(1.1, ge=1)
    max_norm: float = Field(3.0, ge=1)
    proximal: float = Field(0.0, ge=0)
    reset_optimizer: bool = False
    outer: OuterSettings = OuterSettings()


class StartSettings(Frozen):
    """The model that a study starts from instead of random weights.

    Attributes
    ----------
    model : Path
        Folder of a model, a run or a study; or the file of a published checkpoint. On the
        coordinator's disk.
    gradients : Path, optional
        Of a published checkpoint, which does not hold them: a CSV without a header, one row an ROI.
    """

    model: FilePath
    gradients: FilePath | None = None

    @field_validator("model", "gradients")
    @classmethod
    def _from_anywhere(cls, path: Path | None) -> Path | None:
        """The coordinator's program may run in another folder than the one that reads this."""
        return None if path is None else path.absolute()


class StudySettings(Frozen):
    """Everything the coordinator decides.

    Attributes
    ----------
    name : str
        Names the study on the sites' disks and in MLflow.
    pretraining : PretrainingSettings
        Model, windows, basis and recipe; the schedule's total steps are those of the whole study.
    sites : tuple of str
        The roster: names of the sites that may take part, for which the study waits. Without one,
        any may, and the study waits for the whole ``rounds.joining_time``.
    floors : FloorSettings
    rounds : RoundSettings
    aggregation : AggregationSettings
    start_from : StartSettings, optional
        Its basis is the study's, and its weights a zero of the scale beside random ones.
    privacy : StudyPrivacy, optional
        What ``protect: dp`` promises.
    folds, held_out_fold : int
        People of this fold are never trained on and are what the yardstick is measured on.
    protect : ProtectSettings or "dp", optional
        ``secure_sum``: the coordinator gets sums over sites, and no reply of one. ``dp``:
        differential privacy of each person, as `privacy` says. None by default.
    coskewness : bool
        Whether sites' co-skewness is summed with their connectivity: for the directions that keep
        most of it, in which scores of tasks read connectivity too.
    tasks : tuple of StudyTask
        What the sites are asked of the final model at the study's end.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    pretraining: PretrainingSettings
    sites: tuple[str, ...] = ()
    floors: FloorSettings = FloorSettings()
    rounds: RoundSettings = RoundSettings()
    aggregation: AggregationSettings = AggregationSettings()
    start_from: StartSettings | None = None
    privacy: StudyPrivacy | None = None
    folds: int = Field(5, ge=3, le=20)
    held_out_fold: int = Field(0, ge=0)
    protect: ProtectSettings | Literal["dp"] | None = None
    coskewness: bool = False
    tasks: tuple[StudyTask, ...] = ()

    @field_validator("protect", mode="before")
    @classmethod
    def _one_word(cls, told: Any) -> Any:
        if not isinstance(told, str):
            return told
        words: dict[str, Any] = {NONE: None, SECURE_SUM: {SECURE_SUM: {}}, "dp": "dp"}
        if told not in words:
            raise ValueError(f"expected {', '.join(words)}, found '{told[:40]}'; correct it")
        return words[told]

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[StudyTask, ...]) -> tuple[StudyTask, ...]:
        names = [task.task.name for task in tasks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"expected tasks of different names, found '{twice}' twice; give one of them "
                "another name in its YAML, or take it out"
            )
        return tasks

    @field_validator("sites")
    @classmethod
    def _names(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name[:40] for name in sites if not SITE_NAME.fullmatch(name)]
        wrong += sorted({name for name in sites if sites.count(name) > 1})
        if wrong:
            raise ValueError(
                "expected names of 1 to 40 letters, digits, - and _, each once, found "
                f"'{wrong[0]}'; write each site as its own settings name it"
            )
        return sites

    @model_validator(mode="after")
    def _whole_rounds(self) -> StudySettings:
        total = self.pretraining.training.schedule.total_steps
        if total % self.rounds.local_steps:
            raise ValueError(
                f"expected rounds.local_steps to divide the schedule's total_steps ({total}), "
                f"found {self.rounds.local_steps}; change one of the two"
            )
        if self.sites and len(self.sites) < self.rounds.quorum:
            raise ValueError(
                f"expected rounds.quorum of at most the {len(self.sites)} sites of the roster "
                f"(sites), found {self.rounds.quorum}; lower the quorum or add sites"
            )
        if self.held_out_fold >= self.folds:
            raise ValueError(
                f"expected held_out_fold below folds ({self.folds}), found {self.held_out_fold}; "
                "number folds from 0"
            )
        return self

    @model_validator(mode="after")
    def _can_be_summed(self) -> StudySettings:
        """Refuse what needs to see single replies."""
        if self.sums is None:
            return self
        aggregation, groups = self.aggregation, self.sums.groups
        combine = "median or trimmed_mean of the groups' means" if groups else "mean"
        wrong = {
            f"aggregation.combine: {combine}": (aggregation.combine == "mean") == bool(groups)
            and aggregation.combine,
            "aggregation.wire: fp32": aggregation.wire != "fp32" and aggregation.wire,
            "no rounds.sites": self.rounds.sites is not None and self.rounds.sites,
            "tasks with parts: [probe], without penalty and covariates": next(
                (task.task.name for task in self.tasks if not task.can_be_summed), False
            ),
            f"at least {FEWEST} sites": 0 < len(self.sites) < FEWEST and len(self.sites),
        }
        for expected, found in wrong.items():
            if found is not False:
                raise ValueError(
                    f"expected {expected} with protect: {SECURE_SUM}, where the coordinator sees "
                    f"sums over all sites and no reply of one, found {found}; correct it, or go "
                    "without protect"
                )
        if groups and self.sites:
            require_groups(groups, len(self.sites))
        return self

    @model_validator(mode="after")
    def _accounted_for(self) -> StudySettings:
        require_accounted(self)
        return self

    @property
    def sums(self) -> ProtectSettings | None:
        """Of secure sums, where sites answer in them: also where they share the noise."""
        if self.protect != "dp":
            return self.protect
        central = self.privacy is not None and self.privacy.is_central
        return ProtectSettings.model_validate(SECURE_SUM) if central else None

    @property
    def total_rounds(self) -> int:
        """Rounds of the whole study."""
        return self.pretraining.training.schedule.total_steps // self.rounds.local_steps

    def assignment(self, number: int = 0) -> Assignment:
        """The settings part of the requests of round `number`."""
        steps = self.rounds.local_steps
        return Assignment(
            study_id=self.name,
            pretraining=self.pretraining,
            folds=self.folds,
            held_out_fold=self.held_out_fold,
            round=number,
            first_step=number * steps,
            steps=steps,
            wire=self.aggregation.wire,
            target=self.aggregation.target,
            reset_optimizer=self.aggregation.reset_optimizer,
            proximal=self.aggregation.proximal,
            share=self.aggregation.shares,
            protect=self.sums,
            people=self.floors.subjects,
            evaluate_people=self.rounds.evaluate_people,
            coskewness=self.coskewness,
            privacy=self.privacy,
        )
