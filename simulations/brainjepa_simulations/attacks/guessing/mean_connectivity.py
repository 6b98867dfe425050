"""Whether the person of a scan is in a mean connectivity (Homer et al., PLoS Genetics 2008).

A mean of n people leans towards each of them by 1 / n of what is the person's own, and a scan of
theirs leans the same way. The leaning is measured against another mean of the same population.

Shapes: n people, P pairs of ROIs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.attacks.attack import NONE, SECURE_SUM, Row
from brainjepa_simulations.attacks.guessing.telling_apart import auc
from brainjepa_simulations.attacks.scene import Scene

BOTH = ("same scan", "another")
SIZES = (20, 50, 100, 200)
SITES = 12  # of a secure sum
ROIS, NETWORKS, FRAMES = 60, 8, 120  # fewer ROIs tell less of a person than real atlases do


def scores(mean: Float64, reference: Float64, scans: Float64) -> Float64:
    """How much each scan [n, P] leans to a mean [P] more than to a reference [P]."""
    towards = mean - reference
    found: Float64 = (scans - reference) @ towards / np.linalg.norm(towards)
    return found


def membership(scans: Float64, sessions: Float64, size: int, draws: int = 8) -> tuple[float, float]:
    """AUC for the scans that the mean of `size` people is made of, and for other sessions of them.

    Parameters
    ----------
    scans, sessions : ndarray [n, P]
        Fisher z of two sessions of each person; at least twice as many people as `size`.
    size : int
    draws : int
        Of who is in the mean.
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        order = rng.permutation(len(scans))
        inside, outside = order[:size], order[size : 2 * size]
        reference = scans[order[size:]].mean(0)
        mean = scans[inside].mean(0)
        pair = []
        for known in (scans, sessions):
            others = [
                # Who is judged is not in the reference, as the attacker would have it.
                scores(mean, _without(reference, scans[one], len(order) - size), known[[one]])[0]
                for one in outside
            ]
            pair.append(auc(scores(mean, reference, known[inside]), others))
        found.append(pair)
    same, another = np.mean(found, axis=0)
    return float(same), float(another)


def _without(mean: Float64, one: Float64, count: int) -> Float64:
    found: Float64 = (mean * count - one) / (count - 1)
    return found


def sessions_of(store: ScanStore) -> tuple[Float64, Float64]:
    """Fisher z [n, P] of the first and of the second session of each person."""
    windows = Windows([store])
    scans = [
        [_z(store, series, valid) for series, valid in windows.aligned(person)[:2]]
        for person in range(windows.subjects)
    ]
    first, second = np.array(scans).swapaxes(0, 1)
    return first, second


def _z(store: ScanStore, series: Float32, valid: NDArray[np.bool_]) -> Float64:
    total = ConnectivitySum(store.atlas.rois)
    total.add_scan(series, ~valid)
    found: Float64 = total.z_sum
    return found


def rows(scene: Scene) -> Iterator[Row]:
    """By the number of people; a secure sum over sites of twenty is a mean of more."""
    people = 2 * max(*SIZES, SITES * min(SIZES))
    (store,) = scene.stores(
        "mean", 1, people, rois=max(ROIS, scene.cohort.rois), networks=NETWORKS, frames=FRAMES,
        second_sessions=1.0, short_scans=0.0, missing_rois=0,
    )  # fmt: skip
    scans, sessions = sessions_of(store)
    for size in SIZES:
        for what, found in zip(BOTH, membership(scans, sessions, size), strict=True):
            yield Row(f"AUC, {what}, mean of {size}", NONE, found)
    summed = membership(scans, sessions, SITES * min(SIZES))
    for what, found, most in zip(BOTH, summed, (0.65, 0.55), strict=True):
        yield Row(f"AUC, {what}, {SITES} sites of {min(SIZES)}", SECURE_SUM, found, most)
