"""A site's part of the evaluation of a task: scores, counts and sums of its people, no predictions.

Probes and their metrics are made here, where the people are. What leaves is a metric with three
digits and rounded numbers of people, sums over so many people a feature as the policy asks for,
counts of scores in bins that no one is alone in, and, if the policy says so, a probe's weights.

Within a secure sum a site sends its sums, or its counts of scores, or, where it has no people for
the task or too few, nothing: zeros, which nobody can tell from sums.

Shapes: n people, P features, Q outcomes, K classes, F folds, J probes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainjepa_client.computing.stopping import require_going_on
from brainjepa_client.guarding.policy import Refusal, require_enough_summed, require_task
from brainjepa_client.judging.task_people import (
    TaskPeople,
    counts_of,
    data_of,
    embeddings_of,
    require_people,
)
from brainjepa_client.judging.task_scores import cross_validated
from brainjepa_client.judging.yardstick import sample_of
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.evaluation.common_probe import cross_fit, held_out_predictions
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.coskewness import CoskewnessFeatures
from brainjepa_core.evaluation.methods.baselines import Average
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.scores.site_metrics import metrics_of, rounded
from brainjepa_core.evaluation.tasks.protocols import splits_of
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.histogram import ScoreHistogram
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import Group, Moments, fold_moments, moments_to_arrays
from brainjepa_core.sums.protocol import stacked
from brainjepa_core.sums.ridge import Ridge
from brainjepa_core.wire.messages import (
    CONNECTIVITY,
    COSKEWNESS,
    NOTHING,
    TARGET,
    Reply,
    Request,
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
    if request.assignment.protect is not None:
        return _summed(settings, windows, folds, request)
    data = data_of(windows, probe.task, policy)
    if probe.want == "scores":
        return _scores(settings, windows, data, request)
    people = _people(settings, windows, folds, data, request)
    if probe.want == "sums":
        return _sums(people.told(policy.min_people_in_sum), policy)
    if probe.want == "newton":
        return _newton(people.told(policy.min_people_in_sum), policy, request.arrays)
    if probe.want == "probe":
        return _own_probe(people.told(policy.min_people_in_sum), policy)
    return _judge(people, policy, request)


def _people(
    settings: SiteSettings,
    windows: Windows,
    folds: NDArray[np.int64],
    data: TaskData,
    request: Request,
) -> TaskPeople:
    """Those of the task's data, as the model sees them."""
    features = embeddings_of(settings, windows, data.people, request)
    sample = sample_of(windows, folds, request.assignment)
    return TaskPeople.of(data, features, folds, request.assignment.folds, sample)


def _summed(
    settings: SiteSettings, windows: Windows, folds: NDArray[np.int64], request: Request
) -> Reply:
    """Moments or counts of scores for a secure sum."""
    probe, policy = request.assignment.probe, settings.policy
    assert probe is not None
    try:
        data = data_of(windows, probe.task, policy)
    except Refusal:
        return Reply(arrays=_nothing(settings, windows, request) if probe.want == "sums" else {})
    people = _people(settings, windows, folds, data, request)
    widest = max(x.shape[1] for x in people.features.values())
    require_enough_summed(policy, request.assignment.people, widest)
    if probe.want == "sums":
        return Reply(arrays=moments_to_arrays(_moments(people)))
    sent: Arrays = {}
    for pool in people.features:
        predicted = _predictions(people, pool, policy, request.arrays)
        margin = _margins(people, pool, predicted, request.arrays)[0]
        counts = ScoreHistogram.of(people.data.target, margin, 1)
        sent |= stacked([counts], f"probe.{pool}.")
    return Reply(arrays=sent)


def _nothing(settings: SiteSettings, windows: Windows, request: Request) -> Arrays:
    """Moments of nobody, as wide as those of sites that have people."""
    probe, count = request.assignment.probe, request.assignment.folds
    assert probe is not None
    nobody = np.zeros((0, len(probe.task.classes or ()) or 1))
    somebody = embeddings_of(settings, windows, np.arange(1), request)
    return moments_to_arrays(
        {
            Group(pool, TARGET, fold): m
            for pool, x in somebody.items()
            for fold, m in enumerate(fold_moments(x[:0], nobody, nobody[:, 0], count))
        }
    )


def _scores(settings: SiteSettings, windows: Windows, data: TaskData, request: Request) -> Reply:
    """Metrics of knowing nothing, of connectivity and of each pool, by the protocol.

    Of connectivity in the study's subspace of co-skewness too, where the study has summed that.
    """
    probe, policy = request.assignment.probe, settings.policy
    assert probe is not None
    splits = splits_of(probe.protocol, data)
    everybody = embeddings_of(settings, windows, np.arange(windows.subjects), request)
    methods: dict[str, Method] = {
        NOTHING: Average(data.task.kind),
        CONNECTIVITY: FeatureMethod("", ConnectivityFeatures(windows).of("correlation")),
        **_coskewness(windows, request),
        **{pool: FeatureMethod("", x) for pool, x in everybody.items()},
    }
    metrics = counts_of(data, policy)
    for model, method in methods.items():
        require_going_on()
        for name, value in cross_validated(method, data, splits, policy).items():
            metrics[f"{model}.{name}"] = rounded(value)
    return Reply(metrics)


def _coskewness(windows: Windows, request: Request) -> dict[str, Method]:
    """Connectivity along the request's directions, where the study sums co-skewness."""
    if not request.assignment.coskewness:
        return {}
    rois, array = len(windows.atlas), request.arrays.get(COSKEWNESS)
    fits = (
        array is not None
        and array.dtype == np.float64
        and array.ndim == 2
        and len(array) == rois
        and 1 <= array.shape[1] <= rois
        and np.allclose(array.T @ array, np.eye(array.shape[1]), atol=1e-6)  # not so of NaN
    )
    if not fits:
        found = "none" if array is None else f"{array.dtype} of shape {list(array.shape[:8])}"
        raise Refusal(
            "expected directions of co-skewness as orthonormal float64 of shape "
            f"[{rois}, at most {rois}], found {found}; check study and versions"
        )
    # Everybody is read once, and needed no more.
    features = CoskewnessFeatures(windows, directions=array, at_hand=0)
    return {COSKEWNESS: FeatureMethod("", features.features())}


def _sums(people: TaskPeople, policy: PolicySettings) -> Reply:
    require_people(len(people.data), policy)
    enough = people.of_pools_of_enough(policy.min_people_a_feature)
    return Reply(counts_of(people.data, policy), moments_to_arrays(_moments(enough)))


def _moments(people: TaskPeople) -> dict[Group, Moments]:
    """Of each pool and fold."""
    return {
        Group(pool, TARGET, fold): m
        for pool, x in people.features.items()
        for fold, m in enumerate(fold_moments(x, people.outcomes, people.folds, people.count))
    }


def _newton(people: TaskPeople, policy: PolicySettings, arrays: Arrays) -> Reply:
    """Sums at the weights of F + 1 fits: without the people of each fold, and of everybody."""
    require_people(len(people.data), policy)
    people = people.of_pools_of_enough(policy.min_people_a_feature)
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
    return Reply(counts_of(people.data, policy), sent)


def _own_probe(people: TaskPeople, policy: PolicySettings) -> Reply:
    """A probe fitted on this site's people alone, and how it does on those left out of it.

    Its weights are a function of moments that may leave by themselves, or stay: of fewer people a
    feature they tell whoever knows all but one person of that one.
    """
    require_people(len(people.data), policy)
    people = people.of_pools_of_enough(policy.min_people_a_feature)
    metrics = counts_of(people.data, policy)
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
        require_people(len(people.data), policy)
    metrics = counts_of(people.data, policy)
    kept_back = {"mae"} if request.assignment.contract else set()
    sent: Arrays = {}
    for pool in people.features:
        found = _predictions(people, pool, policy, arrays)
        for number, predicted in enumerate(found):
            for name, value in metrics_of(people.kind, people.data.target, predicted).items():
                if name not in kept_back:
                    metrics[f"{pool}.{number}.{name}"] = rounded(value)
        if f"probe.{pool}.range" in arrays and len(people.data.classes) == 2:
            margins = _margins(people, pool, found, arrays)
            sent |= stacked([_counts(people, m, policy) for m in margins], f"probe.{pool}.")
    return Reply(metrics, sent)


def _counts(people: TaskPeople, margins: Float64, policy: PolicySettings) -> ScoreHistogram:
    """Of scores in bins, as of rounded numbers of people."""
    fewest = policy.min_people_in_sum
    counts = ScoreHistogram.of(people.data.target, margins, fewest, policy.rounded)
    return counts.told(fewest)


def _predictions(
    people: TaskPeople, pool: str, policy: PolicySettings, arrays: Arrays
) -> list[Float64]:
    """What each given probe says [n, Q] of people."""
    x, outcomes = people.features[pool], people.outcomes.shape[1]
    weights = _given(arrays, pool, "weights", (None, None, x.shape[1], outcomes))
    intercepts = _given(arrays, pool, "intercept", (*weights.shape[:2], outcomes))
    if not 1 <= len(weights) <= policy.max_probes:
        raise Refusal(
            f"this site's policy lets at most {policy.max_probes} probes be judged at once "
            f"(policy.max_probes), found {len(weights)}; ask about fewer, or its manager"
        )
    if weights.shape[1] not in (1, people.count):
        raise Refusal(f"expected 1 or {people.count} fits of a probe; check the study's folds")
    found = []
    for fits, constants in zip(weights, intercepts, strict=True):
        probes = [Ridge(w, b) for w, b in zip(fits, constants, strict=True)]
        found.append(held_out_predictions(probes, x, people.folds))
    return found


def _margins(
    people: TaskPeople, pool: str, predicted: list[Float64], arrays: Arrays
) -> list[Float64]:
    """How much more each probe says of the second class than of the first, in the given range."""
    ranges = _given(arrays, pool, "range", (len(predicted), 2))
    return [
        (p[:, 1] - p[:, 0] - middle) / spread
        for p, (middle, spread) in zip(predicted, ranges, strict=True)
    ]


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
