"""How much of the other half of a scan a short window tells: a yardstick without labels.

From one window of a half, the connectome of the other half of the same person's scan is predicted,
along the leading principal directions in which people's connectomes differ. What a scan's two
halves share is the person, so a read-out is as good as it tells them. Directions and scales are of
training people; everybody is judged within their hospital, less its own mean.

Shapes: n people, R ROIs, F frames of a half, T frames of a window, E = R (R - 1) / 2 pairs of ROIs,
C components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.readout.connectivity import (
    connectivity_of,
    pairs_of,
    signal_part,
)
from brainjepa_core.problems import counted
from brainjepa_core.signals.windows import Windows
from brainjepa_core.usable import MIN_ROIS, why_unusable

COMPONENTS = 20  # of people's connectomes, as in the yardstick of pooled embeddings
PEOPLE_A_COMPONENT = 8  # with fewer a direction is those people, and of others tells nothing
WINDOW_SECONDS = 128.0
LEAST_PEOPLE = 3  # of which a direction and a scale can be learned

Mask = NDArray[np.bool_]
Connectome = Callable[[NDArray[np.floating], Mask], Float64]
"""Connectivity [R, R] of a window [R, T] whose known ROIs are True in [R]; NaN of the others."""


class Halves(NamedTuple):
    """The two halves of a scan.

    Attributes
    ----------
    first, second : ndarray [R, F]
        Signals on one scale, 0 where an ROI is missing.
    known : ndarray of bool [R]
    """

    first: NDArray[np.floating]
    second: NDArray[np.floating]
    known: Mask

    @classmethod
    def of(cls, series: NDArray[np.floating], known: Mask) -> Self:
        """Of a scan [R, 2 F]; of an odd number of frames the last one is left out."""
        frames = series.shape[1] // 2
        return cls(series[:, :frames], series[:, frames : 2 * frames], known)

    def both_ways(self) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        """What is read and what is told by it, then the other way round."""
        yield self.first, self.second
        yield self.second, self.first


def window_connectivity(window: NDArray[np.floating], known: Mask) -> Float64:
    """The window's own connectivity [R, R]: what a read-out has to be better than."""
    return connectivity_of([signal_part(window, known, 1.0)])


@dataclass(frozen=True, eq=False)
class OtherHalf:
    """What a read-out tells of tested people's other halves.

    Attributes
    ----------
    errors, totals : ndarray of float64 [n]
        Of each tested person, summed over windows, halves and components: squared errors, and the
        squares of what is predicted. Resample people in both for an interval; those of two
        read-outs of the same people are paired.
    """

    errors: Float64
    totals: Float64

    @property
    def r2(self) -> float:
        """1 - error / total over all tested people; NaN where they do not differ."""
        total = self.totals.sum()
        return float(1 - self.errors.sum() / total) if total > 0 else float("nan")


class People(NamedTuple):
    """People of one scan each, and where they were scanned.

    Attributes
    ----------
    halves : sequence of Halves
    sites : sequence of str
        Hospital of each person.
    """

    halves: Sequence[Halves]
    sites: Sequence[str]

    @classmethod
    def of(cls, windows: Windows, numbers: Iterable[int], frames: int) -> Self:
        """Those of some people of windows whose first scan has halves of so many frames at least.

        A hospital is called as its store is.
        """
        halves, sites = [], []
        for number in numbers:
            series, known = windows.aligned(int(number))[0]
            if series.shape[1] // 2 >= frames and known.sum() >= MIN_ROIS:
                halves.append(Halves.of(series, known))
                sites.append(windows.stores[windows.people[number].store].path.name)
        return cls(halves, sites)


def other_half_r2(
    training: People,
    tested: People,
    connectome: Connectome,
    frames: int,
    components: int | None = None,
) -> OtherHalf:
    """R2 of the other half's leading coordinates from one window, at tested people.

    Each coordinate that is read is scaled as pays on the training people, whose other halves are
    the only ones seen: a read-out is not judged by its unit, nor by how much it should be shrunk.

    Parameters
    ----------
    training, tested : People
        Directions and scales are learned on `training`, and everything is told of `tested`.
    connectome : callable
        As `window_connectivity`, or a network's latent connectivity (`LatentReader.of_window`).
    frames : int
        T of a window; `WINDOW_SECONDS` over the repetition time.
    components : int, optional
        C; by default 20, or one for every eight training people where that is fewer. Fewer, too,
        where the training people do not differ in so many directions.

    Returns
    -------
    OtherHalf

    Raises
    ------
    ValueError
        If a half is shorter than a window, hospitals and people differ in number, or there are too
        few people.
    """
    for people in (training, tested):
        _require(people, frames)
    if len(training.halves) < LEAST_PEOPLE:
        raise ValueError(
            f"expected at least {LEAST_PEOPLE} training people with two halves, found "
            f"{len(training.halves)}; give more people"
        )
    if components is None:
        components = min(COMPONENTS, max(len(training.halves) // PEOPLE_A_COMPONENT, 1))
    told = _told(training)
    mean = _mean(told)
    directions = _directions(_within(_less(told, mean).mean(1), training.sites), components)

    def rows(people: People, told: Float64) -> Iterator[tuple[Float64, Float64]]:
        """Coordinates [2, windows, C] of a person's windows, and of the halves they tell of."""
        read = [
            _less(_read(halves, connectome, frames), mean) @ directions for halves in people.halves
        ]
        means = np.stack([x.mean((0, 1)) for x in read])
        own = means - _within(means, people.sites)
        targets = _within(_less(told, mean) @ directions, people.sites)
        for x, level, y in zip(read, own, targets, strict=True):
            yield x - level, np.broadcast_to(y[:, None], x.shape)

    cross, square = np.zeros(directions.shape[1]), np.zeros(directions.shape[1])
    for x, y in rows(training, told):
        cross, square = cross + (x * y).sum((0, 1)), square + (x * x).sum((0, 1))
    scale = np.divide(cross, square, out=np.zeros_like(cross), where=square > 0)
    sums = [
        (((y - scale * x) ** 2).sum() / x.shape[1], (y**2).sum() / x.shape[1])
        for x, y in rows(tested, _told(tested))
    ]
    errors, totals = np.array(sums).T
    return OtherHalf(errors, totals)


def _require(people: People, frames: int) -> None:
    halves, sites = people
    if len(halves) != len(sites) or not halves:
        raise ValueError(
            "expected at least one person, and the hospital of each, found "
            f"{counted(len(halves), 'person', 'people')} and {counted(len(sites), 'hospital')}; "
            "give both in one order"
        )
    short = sum(half.shape[1] < frames for person in halves for half, _ in person.both_ways())
    why = why_unusable(frames, min(int(person.known.sum()) for person in halves))
    if short or why:
        found = f"{short} shorter ones" if short else why
        raise ValueError(
            f"expected halves that hold a window of {frames} frames, found {found}; leave these "
            "people out, or take a window of another length"
        )


def _windows(half: NDArray[np.floating], frames: int) -> Iterator[NDArray[np.floating]]:
    """Windows side by side; a remainder is left out."""
    for start in range(0, half.shape[1] - frames + 1, frames):
        yield half[:, start : start + frames]


def _read(halves: Halves, connectome: Connectome, frames: int) -> Float64:
    """Fisher z [2, windows, E] of each half's windows."""
    return np.array(
        [
            [pairs_of(connectome(window, halves.known)) for window in _windows(half, frames)]
            for half, _ in halves.both_ways()
        ]
    )


def _told(people: People) -> Float64:
    """Fisher z [n, 2, E] of what each half is to tell: the other one."""
    return np.array(
        [
            [pairs_of(window_connectivity(other, halves.known)) for _, other in halves.both_ways()]
            for halves in people.halves
        ]
    )


def _mean(z: Float64) -> Float64:
    """Mean [E] over people and halves that know a pair; 0 where nobody does."""
    known = np.isfinite(z)
    found: Float64 = np.where(known, z, 0).sum((0, 1)) / np.maximum(known.sum((0, 1)), 1)
    return found


def _less(z: Float64, mean: Float64) -> Float64:
    """Fisher z [..., E] less what is expected [E]; 0 of pairs that are not known."""
    return np.nan_to_num(z - mean)


def _within(values: Float64, sites: Sequence[str]) -> Float64:
    """Values [n, ..., C] less the mean over the people, and halves, of each hospital."""
    found = values.copy()
    for site in set(sites):
        mine = np.array([own == site for own in sites])
        found[mine] -= values[mine].reshape(-1, values.shape[-1]).mean(0)
    return found


def _directions(z: Float64, components: int) -> Float64:
    """Leading principal directions [E, C] of people [n, E], of unit variance along each."""
    values, vectors = np.linalg.eigh(z @ z.T)
    kept = values > 1e-9 * values[-1]
    values, vectors = values[kept][::-1][:components], vectors[:, kept][:, ::-1][:, :components]
    found: Float64 = z.T @ vectors / values * np.sqrt(len(z))
    return found
