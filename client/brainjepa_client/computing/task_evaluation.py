"""A site's part of the evaluation of a task: scores, counts and sums of its people, no predictions.

Probes and their metrics are made here, where the people are. What leaves is a metric with three
digits and the numbers of people behind it, sums over people with the policy's floors, counts of
scores in bins that no one is alone in, and, if the policy says so, a probe's weights.

Shapes: n people, P features, Q outcomes, K classes, F folds, J probes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_client.computing.round_model import model_of
from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.computing.task_scores import cross_validated
from brainjepa_client.guarding.policy import Refusal, require_task
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.evaluation.common_probe import (
    cross_fit,
    held_out_predictions,
    outcome_columns,
    told_people,
)
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.methods.baselines import Average
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.scores.site_metrics import Kind, metrics_of, rounded
from brainjepa_core.evaluation.tasks.protocols import splits_of
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.histogram import ScoreHistogram
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import Group, fold_moments, moments_to_arrays
from brainjepa_core.sums.protocol import stacked
from brainjepa_core.sums.ridge import Ridge
from brainjepa_core.wire.messages import CONNECTIVITY, NOTHING, TARGET, Reply, Request, Scalar

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
    """

    data: TaskData
    features: dict[str, Float64]
    folds: NDArray[np.int64]
    count: int

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
        return TaskPeople(
            _only(self.data, keep),
            {pool: x[keep] for pool, x in self.features.items()},
            self.folds[keep],
            self.count,
        )


def evaluate_task(
    settings: SiteSettings, windows: Windows, folds: NDArray[np.int64], request: Request
) -> Reply:
    """Reply to ``evaluate`` with a probe.

    Parameters
    ----------
    settings : SiteSettings
    windows : Windows
        Of all people.
    folds : ndarray [n]
        Fold of each person.
    request : Request
        With weights, ``basis``, and for ``newton`` and ``judge`` what they start from.

    Raises
    ------
    Refusal
        If the policy forbids it, too few people take part, or arrays do not fit.
    """
    probe, policy = request.assignment.probe, settings.policy
    assert probe is not None
    require_task(policy, probe)
    data = _data_of(windows, probe.task, policy)
    if probe.want == "scores":
        return _scores(settings, windows, data, request)
    features = _embeddings(settings, windows, data.people, request)
    people = TaskPeople(data, features, folds[data.people], request.assignment.folds)
    if probe.want == "sums":
        return _sums(people.told(policy.min_people_in_sum), policy)
    if probe.want == "newton":
        return _newton(people.told(policy.min_people_in_sum), policy, request.arrays)
    if probe.want == "probe":
        return _own_probe(people)
    return _judge(people, policy, request)


def _data_of(windows: Windows, task: TaskSettings, policy: PolicySettings) -> TaskData:
    """The task's people, if there are enough of them in each class."""
    try:
        data = task_data(task, windows)
    except ValueError as error:  # its counts may be of few people; they stay in the log
        raise Refusal(
            f"this site has no people for task '{task.name}', or too few, or lacks a column; go "
            "on without it (its own log says more)"
        ) from error
    _require_people(len(data), policy)
    sizes = np.bincount(data.target.astype(np.int64)) if data.classes else np.array([len(data)])
    if (sizes < policy.min_people_a_class).any() or len(sizes) < len(data.classes):
        raise Refusal(
            f"this site's policy asks for at least {policy.min_people_a_class} people in each "
            f"class (policy.min_people_a_class), and task '{task.name}' finds fewer; go on "
            "without it"
        )
    return data


def _require_people(people: int, policy: PolicySettings) -> None:
    if people < policy.min_subjects:
        raise Refusal(
            f"this site's policy asks for at least {policy.min_subjects} people "
            "(policy.min_subjects), and the task finds fewer; go on without this site"
        )


def _embeddings(
    settings: SiteSettings, windows: Windows, people: NDArray[np.int64], request: Request
) -> dict[str, Float64]:
    """Features [n, P] of people by pool, kept on the site's disk from one request to the next."""
    assert request.assignment.probe is not None
    model = model_of(request, len(windows.atlas)).to(settings.device).eval()
    networks = networks_of(windows, model.basis.cpu().numpy())
    cache = Path(settings.state) / CACHE
    pools = request.assignment.probe.pools

    def go_on(*_: int) -> None:
        require_going_on()

    found = cached_embeddings(
        model, windows, people.tolist(), pools, networks, cache, go_on, KEPT_MODELS
    )
    return {pool: np.asarray(x, np.float64) for pool, x in found.items()}


def _only(data: TaskData, keep: NDArray[np.bool_]) -> TaskData:
    return replace(
        data,
        people=data.people[keep],
        sites=data.sites[keep],
        target=data.target[keep],
        covariates=data.covariates[keep],
        facts=tuple(facts for facts, kept in zip(data.facts, keep, strict=True) if kept),
    )


def _counts(people: TaskPeople | TaskData) -> dict[str, Scalar]:
    data = people.data if isinstance(people, TaskPeople) else people
    found: dict[str, Scalar] = {"people": len(data)}
    for label in range(len(data.classes)):
        found[f"class.{label}"] = int((data.target == label).sum())
    return found


def _scores(settings: SiteSettings, windows: Windows, data: TaskData, request: Request) -> Reply:
    """Metrics of knowing nothing, of connectivity and of each pool, by the protocol."""
    probe, policy = request.assignment.probe, settings.policy
    assert probe is not None
    splits = splits_of(probe.protocol, data)
    everybody = _embeddings(settings, windows, np.arange(windows.subjects), request)
    methods: dict[str, Method] = {
        NOTHING: Average(data.task.kind),
        CONNECTIVITY: FeatureMethod("", ConnectivityFeatures(windows).of("correlation")),
        **{pool: FeatureMethod("", x) for pool, x in everybody.items()},
    }
    metrics = _counts(data)
    for model, method in methods.items():
        for name, value in cross_validated(method, data, splits, policy).items():
            metrics[f"{model}.{name}"] = rounded(value)
    return Reply(metrics)


def _sums(people: TaskPeople, policy: PolicySettings) -> Reply:
    _require_people(len(people.data), policy)
    moments = {
        Group(pool, TARGET, fold): m.told(policy.min_people_in_sum)
        for pool, x in people.features.items()
        for fold, m in enumerate(fold_moments(x, people.outcomes, people.folds, people.count))
    }
    return Reply(_counts(people), moments_to_arrays(moments))


def _newton(people: TaskPeople, policy: PolicySettings, arrays: Arrays) -> Reply:
    """Sums at the weights of F + 1 fits: without the people of each fold, and of everybody."""
    _require_people(len(people.data), policy)
    sent: Arrays = {}
    for pool, x in people.features.items():
        fits, width = people.count + 1, x.shape[1]
        centre = _given(arrays, pool, "centre", (fits, width))
        scale = _given(arrays, pool, "scale", (fits, width))
        trial = _given(arrays, pool, "trial", (fits, width + 1))
        sums = []
        for fold in range(fits):
            rest = people.folds != fold  # nobody is in the last one
            standard = (x[rest] - centre[fold]) * scale[fold]
            found = LogisticSums.of(standard, people.data.target[rest], trial[fold])
            if not found.enough(policy.min_people_in_sum):
                raise Refusal(
                    f"this site's policy asks for at least {policy.min_people_in_sum} people "
                    "behind a sum (policy.min_people_in_sum), and these weights are sure of "
                    "nearly everybody; raise the penalty"
                )
            sums.append(found)
        sent |= stacked(sums, f"probe.{pool}.")
    return Reply(_counts(people), sent)


def _own_probe(people: TaskPeople) -> Reply:
    """A probe fitted on this site's people alone, and how it does on those left out of it."""
    metrics = _counts(people)
    arrays: Arrays = {}
    for pool, x in people.features.items():
        moments = fold_moments(x, people.outcomes, people.folds, people.count)
        try:
            fitted = cross_fit(moments)
        except ValueError as error:
            raise Refusal("this site's people are in too few folds for a probe") from error
        predicted = held_out_predictions(fitted.probes, x, people.folds)
        for name, value in metrics_of(people.kind, people.data.target, predicted).items():
            metrics[f"{pool}.{name}"] = rounded(value)
        arrays[f"probe.{pool}.weights"] = fitted.final.weights
        arrays[f"probe.{pool}.intercept"] = fitted.final.intercept
    return Reply(metrics, arrays)


def _judge(people: TaskPeople, policy: PolicySettings, request: Request) -> Reply:
    """Metrics of each given probe; where a range of scores is given too, counts of them in bins.

    By contract, where a coordinator is not trusted with it, no absolute error is told: a probe that
    says one age of everybody tells by it how many are younger. All other metrics of numbers follow
    from sums that are told anyway.
    """
    arrays = request.arrays
    if any(
        name.endswith(".weights") and a.ndim > 1 and a.shape[1] > 1 for name, a in arrays.items()
    ):
        # A fit of its own for a fold of one would tell of that one.
        people = people.told(policy.min_people_in_sum)
        _require_people(len(people.data), policy)
    metrics = _counts(people)
    kept_back = {"mae"} if request.assignment.contract else set()
    sent: Arrays = {}
    outcomes = people.outcomes.shape[1]
    for pool, x in people.features.items():
        shape = (None, None, x.shape[1], outcomes)
        weights = _given(arrays, pool, "weights", shape)
        intercepts = _given(arrays, pool, "intercept", (*weights.shape[:2], outcomes))
        if not 1 <= len(weights) <= policy.max_probes:
            raise Refusal(
                f"this site's policy lets at most {policy.max_probes} probes be judged at once "
                f"(policy.max_probes), found {len(weights)}; ask about fewer, or its manager"
            )
        if weights.shape[1] not in (1, people.count):
            raise Refusal(f"expected 1 or {people.count} fits of a probe; check the study's folds")
        ranges = None
        if f"probe.{pool}.range" in arrays and len(people.data.classes) == 2:
            ranges = _given(arrays, pool, "range", (len(weights), 2))
        histograms = []
        for number, (fits, constants) in enumerate(zip(weights, intercepts, strict=True)):
            probes = [Ridge(w, b) for w, b in zip(fits, constants, strict=True)]
            predicted = held_out_predictions(probes, x, people.folds)
            for name, value in metrics_of(people.kind, people.data.target, predicted).items():
                if name not in kept_back:
                    metrics[f"{pool}.{number}.{name}"] = rounded(value)
            if ranges is not None:
                margin = (predicted[:, 1] - predicted[:, 0] - ranges[number, 0]) / ranges[number, 1]
                fewest = policy.min_people_in_sum
                counts = ScoreHistogram.of(people.data.target, margin, fewest)
                histograms.append(counts.told(fewest))
        if histograms:
            sent |= stacked(histograms, f"probe.{pool}.")
    return Reply(metrics, sent)


def _given(arrays: Arrays, pool: str, field: str, shape: tuple[int | None, ...]) -> Float64:
    """An array of the request, float64 of a shape whose None may be any number."""
    array = arrays.get(f"probe.{pool}.{field}")
    fits = (
        array is not None
        and array.dtype == np.float64
        and array.ndim == len(shape)
        and all(want in (None, found) for want, found in zip(shape, array.shape, strict=True))
        and bool(np.isfinite(array).all())
    )
    if array is None or not fits:
        found = "none" if array is None else f"{array.dtype} of shape {list(array.shape[:8])}"
        raise Refusal(
            f"expected {field} of a probe of {pool} as finite float64 of shape "
            f"{[want or 'any' for want in shape]}, found {found}; check study and versions"
        )
    return np.asarray(array, np.float64)
