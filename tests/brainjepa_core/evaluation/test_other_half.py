"""The other half's yardstick: against a naive computation, and by what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.other_half import (
    Halves,
    OtherHalf,
    People,
    other_half_r2,
    window_connectivity,
)

ROIS, FRAMES = 6, 12


def people(number: int, seed: int, frames: int = 60, noise: float = 1.0) -> People:
    """People of three hospitals, each with a mixing of their own."""
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(number):
        mixing = np.eye(ROIS) + 0.5 * rng.normal(size=(ROIS, ROIS))
        series = mixing @ rng.normal(size=(ROIS, frames)) + noise * rng.normal(size=(ROIS, frames))
        halves.append(Halves.of(series, np.ones(ROIS, bool)))
    return People(halves, [f"hospital {i % 3}" for i in range(number)])


def naive(training: People, tested: People, components: int) -> tuple[Float64, Float64]:
    """The same with numpy's own correlation, loops and a singular value decomposition."""
    rows, columns = np.tril_indices(ROIS, -1)

    def z(x: Float64) -> Float64:
        return np.arctanh(np.clip(np.corrcoef(x)[rows, columns], -1 + 1e-7, 1 - 1e-7))

    def less_site(values: Float64, sites: list[str]) -> Float64:
        means = {s: np.mean([v for v, t in zip(values, sites, strict=True) if t == s], axis=0)
                 for s in set(sites)}  # fmt: skip
        return np.array([v - means[s] for v, s in zip(values, sites, strict=True)])

    both = np.array([(z(h.first) + z(h.second)) / 2 for h in training.halves])
    centred = less_site(both, list(training.sites))
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    directions = axes[:components].T / spread[:components] * np.sqrt(len(both))

    def read(group: People) -> tuple[Float64, Float64]:
        x, y, sites = [], [], []
        for halves, site in zip(group.halves, group.sites, strict=True):
            for half, other in ((halves.first, halves.second), (halves.second, halves.first)):
                for start in range(0, half.shape[1] - FRAMES + 1, FRAMES):
                    x.append((z(half[:, start : start + FRAMES]) - both.mean(0)) @ directions)
                    y.append((z(other) - both.mean(0)) @ directions)
                    sites.append(site)
        return less_site(np.array(x), sites), less_site(np.array(y), sites)

    x, y = read(training)
    scale = (x * y).sum(0) / (x * x).sum(0)
    x, y = read(tested)
    windows = len(x) // len(tested.halves)
    shape = (len(tested.halves), windows, components)
    errors = ((y - scale * x) ** 2).reshape(shape).sum((1, 2)) / (windows / 2)
    return errors, (y**2).reshape(shape).sum((1, 2)) / (windows / 2)


def test_it_is_what_a_naive_computation_gives() -> None:
    training, tested = people(30, 0), people(12, 1)
    found = other_half_r2(training, tested, window_connectivity, FRAMES, components=4)
    errors, totals = naive(training, tested, 4)
    np.testing.assert_allclose(found.errors, errors, rtol=1e-9)
    np.testing.assert_allclose(found.totals, totals, rtol=1e-9)
    assert found.r2 == pytest.approx(1 - errors.sum() / totals.sum())


def test_a_longer_window_tells_more_and_noise_nothing() -> None:
    training, tested = people(60, 0, frames=240), people(30, 1, frames=240)
    short = other_half_r2(training, tested, window_connectivity, 12, components=6).r2
    long = other_half_r2(training, tested, window_connectivity, 60, components=6).r2

    def noise(window: Float64, known: Float64) -> Float64:
        rng = np.random.default_rng(abs(hash(window.tobytes())) % 2**32)
        return np.corrcoef(rng.normal(size=(ROIS, 12)))

    nothing = other_half_r2(training, tested, noise, 12, components=6).r2
    assert 0.1 < short < long < 1
    assert abs(nothing) < 0.03


def test_neither_a_reading_s_unit_nor_an_offset_of_a_hospital_counts() -> None:
    training, tested = people(30, 0), people(12, 1)

    def halved(window: Float64, known: Float64) -> Float64:
        """Half of every Fisher z, and a little more everywhere."""
        r = window_connectivity(window, known)
        np.fill_diagonal(r, 0)
        found = np.tanh(np.arctanh(np.clip(r, -1 + 1e-7, 1 - 1e-7)) / 2 + 0.05)
        np.fill_diagonal(found, 1)
        return found

    plain = other_half_r2(training, tested, window_connectivity, FRAMES, components=4)
    other = other_half_r2(training, tested, halved, FRAMES, components=4)
    assert other.r2 == pytest.approx(plain.r2, abs=1e-6)


def test_people_of_a_hospital_are_judged_without_the_others() -> None:
    training, tested = people(30, 0), people(12, 1)
    own = [i for i, site in enumerate(tested.sites) if site == "hospital 1"]
    alone = People([tested.halves[i] for i in own], [tested.sites[i] for i in own])
    with_all = other_half_r2(training, tested, window_connectivity, FRAMES, components=4)
    found = other_half_r2(training, alone, window_connectivity, FRAMES, components=4)
    np.testing.assert_allclose(found.errors, with_all.errors[own], rtol=1e-12)
    np.testing.assert_allclose(found.totals, with_all.totals[own], rtol=1e-12)


def test_a_missing_roi_costs_no_other_pair() -> None:
    training, tested = people(30, 0), people(12, 1)
    known = np.ones(ROIS, bool)
    known[2] = False
    first = tested.halves[0]
    gone = Halves(*(np.where(known[:, None], half, 0) for half in first[:2]), known)
    some = People([gone, *tested.halves[1:]], tested.sites)
    found = other_half_r2(training, some, window_connectivity, FRAMES, components=4)
    assert np.isfinite(found.errors).all() and found.totals[0] > 0


def test_people_who_do_not_differ_have_no_r2() -> None:
    assert np.isnan(OtherHalf(np.zeros(3), np.zeros(3)).r2)


@pytest.mark.parametrize(
    ("training", "tested", "frames", "match"),
    [
        (people(9, 0), people(3, 1), 31, "window of 31 frames, found 18 shorter ones; leave"),
        (people(9, 0), People([], []), FRAMES, "found 0 people and 0 hospitals; give both"),
        (people(9, 0), People(people(3, 1)[0], ["a"]), FRAMES, "found 3 people and 1 hospital;"),
        (people(2, 0), people(3, 1), FRAMES, "at least 3 training people with two halves, found 2"),
        (people(9, 0), people(3, 1), 2, "window of 2 frames, found .*2 frames"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(
    training: People, tested: People, frames: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        other_half_r2(training, tested, window_connectivity, frames)


@pytest.mark.parametrize(("count", "components"), [(40, 5), (12, 1), (7, 1), (170, 20)])
def test_few_people_give_few_directions(count: int, components: int) -> None:
    """With more of them than people carry, a direction is the noise of those it is learned from."""
    training, tested = people(count, 0, frames=48), people(12, 1, frames=48)
    found = other_half_r2(training, tested, window_connectivity, FRAMES)
    fixed = other_half_r2(training, tested, window_connectivity, FRAMES, components=components)
    assert found.errors.tolist() == fixed.errors.tolist()
