"""What coordinator and site say to one another: names, shapes, dtypes. Nothing here knows Flower.

A request is a cold start: it carries the study, the place in it and the weights, so that a site
that never answered before can answer it. A reply carries arrays and a few numbers, or a refusal.

Arrays of weights are named as in the model's parameters (``encoder.patch.weight`` ...), and
travel up as `wire.weights` says. All arrays of a message travel in one buffer (`wire.packing`).

An *evaluate* request without a probe asks for the yardstick; with one, for a part of the evaluation
of a task. Arrays of probes are named ``probe.<pool>.<field>``, in requests and replies:
``weights`` [J, F, P, Q] and ``intercept`` [J, F, Q] of J probes, each fitted F times (once for each
left-out fold, or once), with ``range`` [J, 2], mean and spread of scores, where these are to be
counted; Newton's ``centre``, ``scale`` [F + 1, P] and ``trial`` [F + 1, P + 1].

Under ``protect: secure_sum`` a question is asked in the five steps of `secure_sums.messages`. Each
request has a `SumStep`, and the question's own arrays travel with the step ``masked`` alone.

Shapes: P features, Q outcomes (1, or the number of classes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from pydantic import Field, field_validator, model_validator

from brainjepa_core.arrays import Arrays
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.pooling import POOLS
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.privacy.settings import require_central, require_private
from brainjepa_core.privacy.study import StudyPrivacy
from brainjepa_core.settings import Frozen
from brainjepa_core.sums.protocol import PEOPLE_A_FEATURE
from brainjepa_core.wire.packing import digest_of
from brainjepa_core.wire.protection import ProtectSettings

WIRE_VERSION = 11  # raised whenever a message changes; peers must agree

DESCRIBE, GRADIENTS, TRAIN, EVALUATE = "describe", "gradients", "train", "evaluate"
KINDS = (DESCRIBE, GRADIENTS, TRAIN, EVALUATE)

BASIS = "basis"  # float32 [R, m], in train and evaluate requests
COMPONENTS = "components"  # float64 [R, C], eigenvectors of the consensus, in evaluate requests

# Directions that keep most co-skewness, float64 [R, m], in evaluate requests for scores of a study
# that sums it; before names of arrays in gradients replies.
COSKEWNESS = "coskewness"
OF_COSKEWNESS = f"{COSKEWNESS}."

NOT_READ = "people_not_read"  # number of a yardstick's reply: people beside the sample, rounded

# In the configuration of a node, or of a run, where sites answer approved contracts only.
CONTRACTS = "contracts"
SUM = "sum"  # beside the assignment: what a step of a secure sum is asked with, packed

TARGET = "target"  # outcome of moments of a task
OTHER_HALF = "the other half"  # of a scan: outcome of the yardstick
# What a site's scores compare the pools with, beside `COSKEWNESS` where its directions are known.
NOTHING, CONNECTIVITY = "nothing", "connectivity"
NO_MODELS = (NOTHING, CONNECTIVITY, COSKEWNESS)

Scalar = int | float | str
Wire = Literal["fp32", "bf16", "int8"]
Target = Literal["average", "line", "local"]
Want = Literal["scores", "sums", "newton", "probe", "judge"]
WANTS: tuple[Want, ...] = ("scores", "sums", "newton", "probe", "judge")
WITHIN_A_SITE = ("holdout", "kfold", "personalised")


def score_name(pool: str, outcome: str) -> str:
    """Number of a yardstick's reply: mean R2 of the site's own probes."""
    return f"score.{pool}.{outcome}"


def width_name(pool: str) -> str:
    """Number of a yardstick's reply: how many features a pool has."""
    return f"features.{pool}"


# What a yardstick's reply tells of the other half: R2 of latent connectivity, and its features.
OF_OTHER_HALF = (score_name(LATENT_CONNECTIVITY, OTHER_HALF), width_name(LATENT_CONNECTIVITY))


def told_round(index: int) -> int:
    """Number of a round wherever people read it: the first one is 1, though messages count from 0.

    Rounds have this number in folders, records, pages, MLflow, logs, errors and scenarios.
    """
    return index + 1


class ProbeRequest(Frozen):
    """The part of an evaluate request that asks about a task.

    Attributes
    ----------
    want : {"scores", "sums", "newton", "probe", "judge"}
        Scores of probes that the site trains and tests on its own people; moments of its people by
        fold; sums for a step of Newton's at given weights; a probe fitted at the site, whose
        weights leave; how given probes do on the site's people.
    task : TaskSettings
        One that sites can only read alike: its classes are named.
    protocol : ProtocolSettings
        Of ``scores``, within the site. All else uses the study's folds.
    pools : tuple of str
        What is read from the model.
    """

    want: Want
    task: TaskSettings
    protocol: ProtocolSettings = ProtocolSettings(kind="kfold", seeds=1)
    pools: tuple[str, ...] = Field(min_length=1)

    @field_validator("task")
    @classmethod
    def _read_alike(cls, task: TaskSettings) -> TaskSettings:
        if task.kind == "classification" and not task.classes:
            raise ValueError(
                f"task '{task.name}': expected classes by name and values, found none; name them "
                "(classes), since sites would number those that they have"
            )
        return task

    @field_validator("protocol")
    @classmethod
    def _within_a_site(cls, protocol: ProtocolSettings) -> ProtocolSettings:
        if protocol.kind not in WITHIN_A_SITE:
            raise ValueError(
                f"expected a protocol within a site ({', '.join(WITHIN_A_SITE)}), found "
                f"'{protocol.kind}'; choose one of these, by which each site splits its own people "
                "as the others do"
            )
        return protocol

    @field_validator("pools")
    @classmethod
    def _known(cls, pools: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [pool[:40] for pool in pools if pool not in POOLS]
        if unknown or len(set(pools)) < len(pools):
            raise ValueError(
                f"expected pools out of {', '.join(POOLS)}, each once, found "
                f"{', '.join(unknown) or 'one twice'}; correct pools"
            )
        return pools


class Assignment(Frozen):
    """The settings part of a request: which study, and where in it.

    Attributes
    ----------
    version : int
        Of the messages.
    study_id : str
        Names the site's state on the site's disk.
    pretraining : PretrainingSettings
    held_out_fold, folds : int
        People of this fold of `folds` (a function of their id and the study's seed) are never
        trained on.
    round, first_step, steps : int
        Round number from 0; the optimiser steps ``first_step .. first_step + steps - 1``.
    wire : {"fp32", "bf16", "int8"}
    target : {"average", "line", "local"}
        What becomes of the target encoder: sent up and averaged; re-derived by the coordinator;
        or kept at the site.
    reset_optimizer : bool
        Start the round with fresh AdamW moments instead of the site's own.
    proximal : float
        FedProx's mu; 0 is none.
    share : {"scans", "subjects", "equal"}
        What a reply counts by.
    protect : ProtectSettings, optional
        What keeps single replies from the coordinator.
    people : int
        Whom the study's sites have together at least, outside the held-out fold: what is summed
        securely is of no more features than they allow.
    privacy : StudyPrivacy, optional
        Of ``protect: dp``: steps are private, and nothing but trained weights leaves; or, where
        sites share the noise, the sum of one step's clipped gradients within a secure sum.
    evaluate_people : int
        Of how many people of a site the yardstick is read at most (`evaluation.sample`).
    coskewness : bool
        Whether sites' co-skewness is summed with their connectivity.
    probe : ProbeRequest, optional
        In evaluate requests about a task.
    contract : str
        Hash of the contract that this is part of (`wire.contract`); empty where there is none.
    """

    version: int = WIRE_VERSION
    study_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    pretraining: PretrainingSettings
    folds: int = Field(5, ge=3, le=20)
    held_out_fold: int = Field(0, ge=0)
    round: int = Field(0, ge=0)
    first_step: int = Field(0, ge=0)
    steps: int = Field(0, ge=0)
    wire: Wire = "fp32"
    target: Target = "average"
    reset_optimizer: bool = False
    proximal: float = Field(0.0, ge=0)
    share: Literal["scans", "subjects", "equal"] = "scans"
    protect: ProtectSettings | None = None
    people: int = Field(200, ge=1)
    privacy: StudyPrivacy | None = None
    evaluate_people: int = Field(500, ge=1)
    coskewness: bool = False
    probe: ProbeRequest | None = None
    contract: str = Field("", pattern=r"^([0-9a-f]{64})?$")

    @property
    def features_summed(self) -> int:
        """Of how many features moments are summed securely at most; one at least."""
        return max(self.people // PEOPLE_A_FEATURE, 1)

    @property
    def yardstick_people(self) -> int:
        """How many of `people` the samples of all sites hold together at least.

        A sample of a site that lacks somebody has at most its share of the held-out fold, rounded
        up; the rest are people outside it.
        """
        return min(self.people, self.evaluate_people - -(-self.evaluate_people // self.folds))

    @property
    def yardstick_features_summed(self) -> int:
        """As `features_summed`, of the yardstick's moments."""
        return max(self.yardstick_people // PEOPLE_A_FEATURE, 1)

    @model_validator(mode="after")
    def _private_steps(self) -> Assignment:
        if self.privacy is not None:
            require_private(self.pretraining.training)
            if self.privacy.is_central:
                require_central(self.steps)
            if self.privacy.is_central != (self.protect is not None):
                found = "none" if self.protect is None else "some with where: local"
                raise ValueError(
                    "expected secure sums where sites share the noise (privacy.where: central), "
                    f"and there alone, found {found}; bring coordinator and site to one version"
                )
        return self


@dataclass(frozen=True)
class SumStep:
    """The part of a request that asks for a step of a secure sum.

    Attributes
    ----------
    step : str
        One of `secure_sums.messages.STEPS`.
    attempt : int
        From 0.
    question : str
        SHA-256 (hex) of the question's arrays (`packing.digest_of`), which is known before they
        come.
    message : dict of str to ndarray
        What the step is asked with.
    """

    step: str
    attempt: int
    question: str
    message: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What the coordinator asks of a site.

    Attributes
    ----------
    kind : str
    assignment : Assignment
    arrays : dict of str to ndarray
    proposal : str
        Text of the contract, in ``describe`` requests of a study that has one.
    sum : SumStep, optional
        In requests of a secure sum.
    """

    kind: str
    assignment: Assignment
    arrays: Arrays = field(default_factory=dict)
    proposal: str = ""
    sum: SumStep | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the arrays, which may be long: computed once."""
        return digest_of(self.arrays)


@dataclass(frozen=True)
class Reply:
    """What a site answers: numbers and arrays, or a refusal and nothing else."""

    metrics: dict[str, Scalar] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    refusal: str = ""
