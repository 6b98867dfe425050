"""The people of a task at a site: who they are, what a model reads of them, how many may be told.

Shapes: n people, P features, Q outcomes, K classes, F folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_client.computing.round_model import model_of
from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.guarding.policy import Refusal
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.common_probe import outcome_columns, told_people
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.scores.site_metrics import Kind
from brainjepa_core.evaluation.site_people import projected
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import are_enough
from brainjepa_core.wire.messages import Request, Scalar

CACHE = "embeddings"  # folder of the state; a study asks several times about one model,
KEPT_MODELS = 2  # and rarely about more than the last and the best


@dataclass(frozen=True)
class TaskPeople:
    """The people of a task at this site, as the model sees them.

    Attributes
    ----------
    data : TaskData
    features : dict of str to ndarray [n, P]
        By pool.
    folds : ndarray of int64 [n]
        The study's, by hash of the id.
    count : int
        F.
    in_yardstick : ndarray of bool [n]
        Whether the yardstick sums them too.
    yardstick_alone : ndarray of int64
        Folds of those whom the yardstick sums and who are not among these.
    """

    data: TaskData
    features: dict[str, Float64]
    folds: NDArray[np.int64]
    count: int
    in_yardstick: NDArray[np.bool_]
    yardstick_alone: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        data: TaskData,
        features: Mapping[str, Float64],
        folds: NDArray[np.int64],
        count: int,
        sample: NDArray[np.int64],
    ) -> TaskPeople:
        """Those of a task's data.

        Parameters
        ----------
        data : TaskData
        features : mapping of str to ndarray [n, P]
            By pool.
        folds : ndarray of int64
            Of everybody in the study.
        count : int
            F.
        sample : ndarray of int64
            Places among everybody of those whom the yardstick sums.
        """
        alone = folds[np.setdiff1d(sample, data.people)]
        in_yardstick = np.isin(data.people, sample)
        return cls(data, dict(features), folds[data.people], count, in_yardstick, alone)

    @property
    def beside(self) -> NDArray[np.int64]:
        """Folds of those who are in one of the two sums alone: of whom their difference tells."""
        return np.concatenate([self.yardstick_alone, self.folds[~self.in_yardstick]])

    @property
    def kind(self) -> Kind:
        return self.data.task.kind

    @property
    def outcomes(self) -> Float64:
        """Values or columns of classes [n, Q]."""
        return outcome_columns(self.data.target, len(self.data.classes))

    def told(self, fewest: int) -> TaskPeople:
        """Those who may be in sums."""
        keep = told_people(self.folds, self.data.target, len(self.data.classes), fewest)
        gone = self.folds[~keep & self.in_yardstick]
        return TaskPeople(
            _only(self.data, keep),
            {pool: x[keep] for pool, x in self.features.items()},
            self.folds[keep],
            self.count,
            self.in_yardstick[keep],
            np.concatenate([self.yardstick_alone, gone]),
        )

    def of_pools_of_enough(self, a_feature: int) -> TaskPeople:
        """With the pools alone whose sums, and what follows from them, may leave by themselves.

        The yardstick sums a sample of the study's people: less the task's people, those in one of
        the two alone are left, who have to be nobody or as many too.

        Raises
        ------
        Refusal
            If there is none.
        """
        found = {
            pool: x
            for pool, x in self.features.items()
            if are_enough(self.folds, x.shape[1], a_feature)
            and are_enough(self.beside, x.shape[1], a_feature)
        }
        if not found:
            least = min(x.shape[1] for x in self.features.values())
            raise Refusal(
                f"this site's policy lets sums of {least} features, and a probe of them, leave by "
                f"themselves where the task has at least {a_feature} people for each in every "
                "fold, and leaves out none or as many (policy.min_people_a_feature), and it has "
                "fewer; go on with its scores, or ask in a study with protect: secure_sum"
            )
        return replace(self, features=found)


def data_of(windows: Windows, task: TaskSettings, policy: PolicySettings) -> TaskData:
    """The task's people, if there are enough of them in each class.

    Raises
    ------
    Refusal
    """
    try:
        data = task_data(task, windows)
    except ValueError as error:  # its counts may be of few people; they stay in the log
        raise Refusal(
            f"this site has no people for task '{task.name}', or too few, or lacks a column; go "
            "on without it (its own log says more)"
        ) from error
    require_people(len(data), policy)
    sizes = np.bincount(data.target.astype(np.int64)) if data.classes else np.array([len(data)])
    if (sizes < policy.min_people_a_class).any() or len(sizes) < len(data.classes):
        raise Refusal(
            f"this site's policy asks for at least {policy.min_people_a_class} people in each "
            f"class (policy.min_people_a_class), and task '{task.name}' finds fewer; go on "
            "without it"
        )
    return data


def require_people(people: int, policy: PolicySettings) -> None:
    """Refuse to tell of fewer than the policy asks for.

    Raises
    ------
    Refusal
    """
    if people < policy.min_subjects:
        raise Refusal(
            f"this site's policy asks for at least {policy.min_subjects} people "
            "(policy.min_subjects), and the task finds fewer; go on without this site"
        )


def embeddings_of(
    settings: SiteSettings, windows: Windows, people: NDArray[np.int64], request: Request
) -> dict[str, Float64]:
    """Features [n, P] of people by pool, kept on the site's disk from one request to the next.

    Within a secure sum of no more features than all sites' people allow.
    """
    assignment = request.assignment
    assert assignment.probe is not None
    model = model_of(request, len(windows.atlas)).to(settings.device).eval()
    networks = networks_of(windows, model.basis.cpu().numpy())
    cache = Path(settings.state) / CACHE

    def go_on(*_: int) -> None:
        require_going_on()

    found = cached_embeddings(
        model,
        windows,
        people.tolist(),
        assignment.probe.pools,
        networks,
        cache,
        go_on,
        KEPT_MODELS,
    )
    features = {pool: np.asarray(x, np.float64) for pool, x in found.items()}
    if assignment.protect is None:
        return features
    return {pool: projected(x, assignment.features_summed) for pool, x in features.items()}


def counts_of(data: TaskData, policy: PolicySettings) -> dict[str, Scalar]:
    """How many people there are, and in each class, rounded as in ``describe``."""
    found: dict[str, Scalar] = {"people": policy.rounded(len(data))}
    for label in range(len(data.classes)):
        found[f"class.{label}"] = policy.rounded(int((data.target == label).sum()))
    return found


def _only(data: TaskData, keep: NDArray[np.bool_]) -> TaskData:
    return replace(
        data,
        people=data.people[keep],
        sites=data.sites[keep],
        target=data.target[keep],
        covariates=data.covariates[keep],
        facts=tuple(facts for facts, kept in zip(data.facts, keep, strict=True) if kept),
    )
