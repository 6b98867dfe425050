"""One table: what each pool of a model tells of people, beside random weights and connectivity.

Shapes: n people, R ROIs, G networks, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.yardstick import (
    connectivity_components,
    connectivity_scores,
    embed_people,
    within_groups,
)
from brainjepa_core.gradients import fisher_z, functional_connectivity
from brainjepa_core.gradients.networks import gradient_networks
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.pooling import SECOND_ORDER
from brainjepa_core.signals.tables.missing_codes import are_ages
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.ridge import held_out_r2
from brainjepa_core.usable import live_rois, why_unusable

FOLDS = 5
JOINT = "mean + second order"
HEADLINE = "network_covariance"  # the pool that models are compared by, fixed beforehand
NETWORKS = "networks"  # what plain connectivity is read from


@dataclass(frozen=True)
class Outcomes:
    """What is read from embeddings: values [n, Q] of each group of outcomes, such as latents."""

    groups: dict[str, Float64]
    people: NDArray[np.int64]
    folds: NDArray[np.int64]


@dataclass(frozen=True)
class YardstickScore:
    """Mean held-out R2 of a group of outcomes from one pool of one model."""

    model: str
    pool: str
    outcome: str
    r2: float
    features: int


def outcomes_of(windows: Windows, mean_fc: Float64, seed: int = 0) -> Outcomes:
    """Outcomes of all people, fixed before any training.

    Parameters
    ----------
    windows : Windows
    mean_fc : ndarray [R, R]
        Consensus connectivity, which the connectivity components are taken from.
    seed : int
        Of the folds (`splits.fold_of`): those of a federation with this seed.

    Returns
    -------
    Outcomes
        ``connectivity`` (20 components), ``age within site`` and ``latents`` (the traits of a
        synthetic cohort), as far as the stores know them.
    """
    people = np.arange(windows.subjects)
    components = connectivity_components(mean_fc, min(20, len(mean_fc)))
    folds = folds_of_windows(windows, seed, FOLDS)
    return Outcomes(outcome_groups(windows, components), people, folds)


def outcome_groups(
    windows: Windows, components: Float64, go_on: Callable[[], None] = lambda: None
) -> dict[str, Float64]:
    """Values [n, Q] of each group of outcomes that the stores know of everybody.

    Parameters
    ----------
    windows : Windows
    components : ndarray [R, C]
        Along which connectivity is read.
    go_on : callable
        Called before each person's scans are read; what it raises ends the reading.
    """
    people, scores = range(windows.subjects), list[Float64]()
    for person in people:
        go_on()
        scores.append(connectivity_scores(_mean_connectivity(windows, person), components))
    groups = {"connectivity": np.stack(scores)}
    facts = outcome_phenotypes(windows)
    sites = np.array([windows.people[p].store for p in people])
    ages = [f.get("age") for f in facts]
    if are_ages(ages):
        groups["age within site"] = within_groups(np.array([ages], np.float64).T, sites)
    latents = sorted(k for k in facts[0] if k != "age" and all(k in f for f in facts))
    if latents:
        groups["latents"] = np.array([[f[k] for k in latents] for f in facts], np.float64)
    return groups


def outcome_phenotypes(windows: Windows) -> list[dict[str, Any]]:
    """What outcomes are taken from, by person: age, and latents of a synthetic cohort."""
    return [
        {k: v for k, v in p.records[0].phenotypes.items() if k == "age" or k.startswith("latent_")}
        for p in windows.people
    ]


def _mean_connectivity(windows: Windows, person: int) -> Float64:
    """Fisher-averaged connectivity [R, R] of a person's scans, 0 where an ROI is missing."""
    z = [_known_z(series, valid) for series, valid in windows.aligned(person)]
    mean: Float64 = np.tanh(np.mean(z, axis=0))
    np.fill_diagonal(mean, 1.0)
    return mean


def _known_z(series: NDArray[np.floating], seen: NDArray[np.bool_]) -> Float64:
    """Fisher z of all pairs of the rows of a scan [R, F]; 0 for rows unseen or without a signal."""
    z = np.zeros((len(seen), len(seen)))
    live = live_rois(np.where(seen[:, None], series, np.nan))
    if not why_unusable(series.shape[1], int(live.sum())):
        z[np.ix_(live, live)] = fisher_z(functional_connectivity(series[live]))
    return z


def measure_model(
    name: str, model: BrainModel, windows: Windows, outcomes: Outcomes
) -> list[YardstickScore]:
    """Rows of one model: the published mean pool, each second-order pool, and all of them."""
    features = pooled_features(model, windows, outcomes.people)
    features[JOINT] = np.concatenate(list(features.values()), axis=1)
    return [row for pool in features for row in _rows(name, pool, features[pool], outcomes)]


def pooled_features(
    model: BrainModel,
    windows: Windows,
    people: Iterable[int],
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Float64]:
    """Embeddings [n, P] of people by pool: the mean, and each second-order one.

    `progress` is called as `embed_people` does.
    """
    networks = networks_of(windows, model.basis.cpu().numpy())
    pools = ("mean", *SECOND_ORDER)
    return embed_people(model, windows, people, pools, networks, progress=progress)


def networks_of(windows: Windows, gradients: ArrayLike) -> NDArray[np.int64]:
    """Network of each ROI [R]: the atlas's, or clusters of the basis [R, m] where it names none."""
    if windows.atlas.has_networks:
        return windows.atlas.network_index
    return gradient_networks(gradients)


def measure_connectivity(
    windows: Windows, outcomes: Outcomes, networks: NDArray[np.int64]
) -> list[YardstickScore]:
    """Rows of the field's own baseline: correlations of the networks' mean signals.

    The connectivity outcomes are left out: they are functions of what is read from.
    """
    features = np.stack([_network_connectivity(windows, p, networks) for p in outcomes.people])
    rows = _rows("connectivity", NETWORKS, features, outcomes)
    return [row for row in rows if row.outcome != "connectivity"]


def _network_connectivity(windows: Windows, person: int, networks: NDArray[np.int64]) -> Float64:
    """Fisher z of all pairs of networks, 0 where a scan lacks all ROIs of one."""
    z = []
    for series, valid in windows.aligned(person):
        one_hot = (networks[:, None] == np.arange(networks.max() + 1)) & valid[:, None]
        count = one_hot.sum(0)
        means = one_hot.T.astype(np.float64) @ series / np.maximum(count, 1)[:, None]
        z.append(_known_z(means, count > 0)[np.triu_indices(len(count), 1)])
    found: Float64 = np.mean(z, axis=0)
    return found


def _rows(name: str, pool: str, features: Float64, outcomes: Outcomes) -> list[YardstickScore]:
    return [
        YardstickScore(
            name,
            pool,
            outcome,
            float(held_out_r2(features, values, outcomes.folds).mean()),
            features.shape[1],
        )
        for outcome, values in outcomes.groups.items()
    ]
