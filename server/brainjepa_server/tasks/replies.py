"""What a site's answer about a task must be before it counts; see `combining.validation`.

Shapes: J probes, F folds, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays
from brainjepa_core.evaluation.scores.site_metrics import METRICS
from brainjepa_core.sums.histogram import ScoreHistogram
from brainjepa_core.sums.logistic import LogisticSums
from brainjepa_core.sums.moments import (
    OF_FEATURES,
    OF_OUTCOMES,
    PREFIX,
    Group,
    Moments,
    moments_from_arrays,
)
from brainjepa_core.sums.protocol import unstacked
from brainjepa_core.sums.ridge import Ridge
from brainjepa_core.wire.messages import TARGET, ProbeRequest, Reply, Scalar
from brainjepa_server.combining.validation import (
    MAX_SHARE,
    RejectedReply,
    number,
    of_known_names,
    require_answer,
    require_array,
)

Metrics = dict[str, float]
LARGEST = 1e30  # of weights of a probe
# Bounds of metrics; those that are not here may be any number from 0.
BOUNDS = {"r": (-1.0, 1.0), "r2": (-1e12, 1.0), "mae": (0.0, 1e30)}
P = ParamSpec("P")
T = TypeVar("T")


def only_rejections(check: Callable[P, T]) -> Callable[P, T]:
    """Whatever a reply makes a check raise becomes a `RejectedReply` with a text of ours."""

    @wraps(check)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return check(*args, **kwargs)
        except RejectedReply:
            raise
        except Exception as error:  # the last line of defence against a site's bytes
            raise RejectedReply(
                f"expected a reply about a task as agreed, found one that raises "
                f"{type(error).__name__}; check the site's version"
            ) from error

    return checked


@dataclass(frozen=True, eq=False)
class Judgement:
    """How J probes do at a site: people, metrics of each, and counts of scores if asked for."""

    people: int
    metrics: list[Metrics]
    histograms: list[ScoreHistogram] | None


@only_rejections
def checked_scores(
    reply: Reply, probe: ProbeRequest, classes: int, models: Sequence[str]
) -> tuple[int, tuple[int, ...], dict[str, Metrics]]:
    """People, people of each class, and metrics by model, of those that were asked about.

    Raises
    ------
    RejectedReply
        And nothing else, whatever the reply is; so the others below.
    """
    require_answer(reply, ())
    people, sizes = _people(reply.metrics, classes)
    return people, sizes, {m: _metrics(reply.metrics, probe, f"{m}.") for m in models}


@only_rejections
def checked_moments(
    reply: Reply, probe: ProbeRequest, classes: int, folds: int, widths: Mapping[str, int]
) -> dict[str, list[Moments]]:
    """Moments of F folds by pool; `widths` holds P of the pools that are known already.

    A site leaves out the pools that its people are too few for.
    """
    require_answer(reply, None)
    pools = [p for p in probe.pools if any(n.startswith(f"{PREFIX}.{p}.") for n in reply.arrays)]
    if not pools:
        raise RejectedReply("expected moments of at least one pool, found none")
    places = [f"{PREFIX}.{pool}.{fold}." for pool in pools for fold in range(folds)]
    fields = (*OF_FEATURES, *(f"{TARGET}.{name}" for name in OF_OUTCOMES))
    require_answer(reply, tuple(place + field for place in places for field in fields))
    people, _ = _people(reply.metrics, classes)
    with of_known_names():
        told = task_moments(reply.arrays, pools, classes, folds, widths)
    found = min(sum(m.n for m in moments) for moments in told.values())
    if found < people:
        raise RejectedReply(
            f"expected sums of the {people} people that are told (rounded down) or more, found "
            f"{found}; check the site's version"
        )
    return told


def task_moments(
    arrays: Arrays, pools: Sequence[str], classes: int, folds: int, widths: Mapping[str, int]
) -> dict[str, list[Moments]]:
    """Moments of F folds by pool, out of arrays that are named as they should be.

    Raises
    ------
    ValueError
        If no people have such moments, or they are of other widths.
    """
    found = moments_from_arrays(arrays)
    told: dict[str, list[Moments]] = {}
    for pool in pools:
        told[pool] = [found[Group(pool, TARGET, fold)] for fold in range(folds)]
        width = widths.get(pool, len(told[pool][0].x_sum))
        for m in told[pool]:
            if m.xy.shape != (width, classes or 1):
                raise ValueError(
                    f"expected moments of {width} features and {classes or 1} outcomes for "
                    f"{pool}, found {m.xy.shape[0]} and {m.xy.shape[1]}; give all sites one atlas"
                )
            if classes and not m.are_of_classes():
                raise ValueError(
                    f"expected sums of products of {pool} and the task's classes, found some that "
                    "no people's data have; check the site's version"
                )
    return told


@only_rejections
def checked_gradients(reply: Reply, pool: str, fits: int, width: int) -> list[LogisticSums]:
    """Loss, gradient [P + 1] and Hessian [P + 1, P + 1] of so many fits."""
    prefix = f"probe.{pool}."
    require_answer(reply, tuple(f"{prefix}{name}" for name in LogisticSums.ADDED))
    with of_known_names():
        found = unstacked(LogisticSums, reply.arrays, fits, prefix)
    for sums in found:
        if len(sums.gradient) != width:
            raise RejectedReply(
                f"expected a gradient of {width} weights, found {len(sums.gradient)}; give all "
                "sites one atlas"
            )
    return found


@only_rejections
def checked_probe(
    reply: Reply, probe: ProbeRequest, classes: int, like: Ridge | None
) -> tuple[Ridge, Metrics]:
    """A site's own probe of one pool, as wide as `like`, and its metrics on left-out people."""
    (pool,) = probe.pools
    names = f"probe.{pool}.weights", f"probe.{pool}.intercept"
    require_answer(reply, names)
    _people(reply.metrics, classes)
    weights: NDArray[Any] = reply.arrays[names[0]]
    intercept: NDArray[Any] = reply.arrays[names[1]]
    width = len(weights) if like is None else len(like.weights)
    outcomes, float64 = classes or 1, np.dtype(np.float64)
    require_array(weights, names[0], float64, (width, outcomes))
    require_array(intercept, names[1], float64, (outcomes,))
    if not width or max(np.abs(weights).max(), np.abs(intercept).max()) > LARGEST:
        raise RejectedReply(f"expected weights of a probe below {LARGEST:g}, found more or none")
    return Ridge(weights, intercept), _metrics(reply.metrics, probe, f"{pool}.")


@only_rejections
def checked_judgement(
    reply: Reply, probe: ProbeRequest, classes: int, probes: int, *, counted: bool = False
) -> Judgement:
    """Metrics of J probes of one pool, and counts of scores that add up to the people told."""
    (pool,) = probe.pools
    name = f"probe.{pool}.histogram"
    require_answer(reply, (name,) if counted else ())
    people, sizes = _people(reply.metrics, classes)
    metrics = [_metrics(reply.metrics, probe, f"{pool}.{j}.") for j in range(probes)]
    if not counted:
        return Judgement(people, metrics, None)
    with of_known_names():
        counts = unstacked(ScoreHistogram, reply.arrays, probes, f"probe.{pool}.")
    for histogram in counts:  # people of each class are all there, or too few to be told
        if any(told not in (0, size) for told, size in zip(histogram.classes, sizes, strict=True)):
            raise RejectedReply(
                f"expected counts of scores of {sizes[0]} and {sizes[1]} people, found others; "
                "check the site's version"
            )
    return Judgement(people, metrics, counts)


def _people(metrics: Mapping[str, Scalar], classes: int) -> tuple[int, tuple[int, ...]]:
    """How many, and in each class: each rounded down for itself."""
    people = int(number(metrics, "people", 0, MAX_SHARE, whole=True))
    sizes = tuple(
        int(number(metrics, f"class.{k}", 0, MAX_SHARE, whole=True)) for k in range(classes)
    )
    if sum(sizes) > people:
        raise RejectedReply(
            f"expected classes of at most {people} people in all, found {sum(sizes)}; check the "
            "site's version"
        )
    return people, sizes


def _metrics(metrics: Mapping[str, Scalar], probe: ProbeRequest, prefix: str) -> Metrics:
    """Those that are there, each a number within its bounds."""
    found = {}
    for name in METRICS[probe.task.kind]:
        if f"{prefix}{name}" in metrics:
            low, high = BOUNDS.get(name, (0.0, 1.0))
            found[name] = float(number(metrics, f"{prefix}{name}", low, high))
    return found
