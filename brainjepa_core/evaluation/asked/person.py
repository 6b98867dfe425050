"""The person in a short window: the other half of the scan, and who it is among their hospital's.

Neither needs a label. What a window tells of the other half is told by
`brainjepa_core.evaluation.other_half`; who it is, by whose other half it is most alike.

Shapes: n people, R ROIs, F frames of a half, T frames of a window, E pairs of ROIs, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.asked.yardstick import DRAWS, PROTOCOL, Asked, under
from brainjepa_core.evaluation.other_half import (
    LEAST_PEOPLE,
    Connectome,
    OtherHalf,
    People,
    other_half_r2,
    window_connectivity,
)
from brainjepa_core.evaluation.readout.connectivity import pairs_of
from brainjepa_core.evaluation.readout.latent import LatentReader, Mask
from brainjepa_core.evaluation.scores.resampling import percentile_interval, resamples
from brainjepa_core.evaluation.scores.results import Comparison, Row
from brainjepa_core.evaluation.scores.statistics import bootstrap_p, holm
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.windows import Windows

SECONDS = (64.0, 128.0)
OWN = "connectivity"
LEAST_TESTED = 10
RATIO = f"r2 over that of {OWN}"


def window_reader(model: BrainModel) -> Connectome:
    """Latent connectivity of a window of any length by a model, padded to the model's."""
    reader, frames = LatentReader(model), model.settings.frames

    def read(window: NDArray[np.floating], known: Mask) -> Float64:
        return reader.connectivity(_OneScan(window, known, frames), 0)

    return read


class _OneScan:
    """A window as a scan of its own: about its mean, cut into the model's windows."""

    def __init__(self, window: NDArray[np.floating], known: Mask, frames: int) -> None:
        x = np.asarray(window, np.float64)
        centred = np.where(known[:, None], x - x.mean(1, keepdims=True), 0).astype(np.float32)
        count = -(-x.shape[1] // frames)
        padded = np.pad(centred, ((0, 0), (0, count * frames - x.shape[1])))
        self._x: Float32 = np.ascontiguousarray(
            padded.reshape(len(x), count, frames).transpose(1, 0, 2)
        )
        self._frames = np.arange(count * frames).reshape(count, frames) < x.shape[1]
        self._known = np.repeat(known[None], count, 0)

    def whole_scans(self, subject: int) -> list[tuple[Float32, Mask, Mask]]:
        return [(self._x, self._frames, self._known)]


def other_half(
    windows: Windows,
    tested: NDArray[np.bool_],
    models: Mapping[str, BrainModel],
    task: str,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Asked]:
    """How much of the other half a window tells, and who it is, by connectivity and by models.

    Parameters
    ----------
    windows : Windows
    tested : ndarray of bool [n]
        People of the windows; directions and scales are learned on the others.
    models : mapping of str to BrainModel
    task : str
        That the rows stand beside.
    progress : callable
        Called with what was done.

    Returns
    -------
    list of Asked
        Without lengths of which too few people have a half.
    """
    readers: dict[str, Connectome] = {OWN: window_connectivity}
    readers |= {f"{name}: latent connectivity": window_reader(m) for name, m in models.items()}
    r2, who = _Rows("r2 of the other half", task), _Rows("identified within site", task)
    ratios: list[Row] = []
    for seconds in SECONDS:
        frames = round(seconds / windows.settings.tr)
        trained, judged = (
            People.of(windows, np.flatnonzero(side), frames) for side in (~tested, tested)
        )
        if len(trained.halves) < LEAST_PEOPLE or len(judged.halves) < LEAST_TESTED:
            continue
        condition = f"from {seconds:g} s"
        found: dict[str, OtherHalf] = {}
        hits: dict[str, Float64] = {}
        for name, read in readers.items():
            found[name] = other_half_r2(trained, judged, read, frames)
            hits[name] = identified(judged, read, frames)
            progress(f"{name}, {condition}")
        weights = np.concatenate(list(resamples(np.zeros(len(judged.halves)), DRAWS, 0)))
        of_r2 = {name: (each.r2, _r2_draws(each, weights)) for name, each in found.items()}
        of_who = {name: (float(h.mean()), weights @ h / len(h)) for name, h in hits.items()}
        r2.add(condition, of_r2, len(judged.halves))
        who.add(condition, of_who, len(judged.halves))
        ratios += _ratios(r2, found, weights, condition)
    if not r2.conditions:
        return []
    told = (
        "From a window of one half of a scan, the connectome of the other half: 20 leading "
        "directions in which people who train differ, within hospitals, 1 is all of it. No label "
        "is needed, so that intervals are narrow."
    )
    names = (
        "Whose other half a window's connectome is most alike, among the people of the hospital; "
        "each feature less its mean there."
    )
    return [
        replace(r2.asked("The other half of a scan", told), rows=(*r2.rows, *ratios)),
        who.asked("Who it is, among the people of a hospital", names),
    ]


def identified(people: People, read: Connectome, frames: int) -> Float64:
    """Whether the first window of each person [n] is most like their own second half."""
    sites = np.array(people.sites)
    windows = [pairs_of(read(h.first[:, :frames], h.known)) for h in people.halves]
    halves = [pairs_of(window_connectivity(h.second, h.known)) for h in people.halves]
    found = np.zeros(len(sites))
    for site in np.unique(sites):
        mine = np.flatnonzero(sites == site)
        seen, known = (_unit(np.array([each[i] for i in mine])) for each in (windows, halves))
        found[mine] = (seen @ known.T).argmax(1) == np.arange(len(mine))
    return found


def _unit(z: Float64) -> Float64:
    """Rows less their mean over people, of length 1; 0 where a pair is not known."""
    known = np.isfinite(z)
    mean = np.where(known, z, 0).sum(0) / np.maximum(known.sum(0), 1)
    less = np.where(known, z - mean, 0)
    length = np.sqrt((less**2).sum(1, keepdims=True))
    found: Float64 = less / np.where(length > 0, length, 1)
    return found


def _r2_draws(found: OtherHalf, weights: Float64) -> Float64:
    result: Float64 = 1 - (weights @ found.errors) / (weights @ found.totals)
    return result


def _ratios(
    rows: _Rows, found: Mapping[str, OtherHalf], weights: Float64, condition: str
) -> Iterator[Row]:
    """By how much a model's figure is that of the window's own connectivity."""
    own, drawn = found[OWN].r2, _r2_draws(found[OWN], weights)
    for name, each in found.items():
        if name != OWN and own > 0:
            low, high = percentile_interval(_r2_draws(each, weights) / drawn)
            metric = under(RATIO, condition)
            facts = (name, rows.task, PROTOCOL, metric, each.r2 / own, math.nan)
            yield Row(*facts, low, high, weights.shape[1])


class _Rows:
    """Rows of one metric, condition after condition, and their differences from connectivity."""

    def __init__(self, metric: str, task: str) -> None:
        self.metric, self.task = metric, task
        self.conditions: list[str] = []
        self.rows: list[Row] = []
        self.comparisons: list[Comparison] = []

    def add(self, condition: str, found: Mapping[str, tuple[float, Float64]], n: int) -> None:
        """Figures and their draws [D] by model, all of the same draws of n people."""
        metric = under(self.metric, condition)
        self.conditions.append(condition)
        others = [name for name in found if name != OWN]
        less = {name: found[name][1] - found[OWN][1] for name in others}
        p = {name: bootstrap_p(draws) for name, draws in less.items()}
        corrected = dict(zip(others, holm(list(p.values())), strict=True))
        for name, (value, draws) in found.items():
            low, high = percentile_interval(draws)
            self.rows.append(
                Row(name, self.task, PROTOCOL, metric, float(value), math.nan, low, high, n)
            )
        for name in others:
            low, high = percentile_interval(less[name])
            difference = float(found[name][0] - found[OWN][0])
            self.comparisons.append(
                Comparison(
                    name, OWN, self.task, PROTOCOL, metric, difference, low, high, p[name],
                    float(corrected[name]),
                )
            )  # fmt: skip

    def asked(self, title: str, told: str) -> Asked:
        """A section of the page."""
        parts = (tuple(self.conditions), tuple(self.rows), tuple(self.comparisons))
        return Asked(title, told, self.metric, *parts)
