"""The person in a short window, against what is known."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.evaluation.asked.person import identified, other_half, window_reader
from brainjepa_core.evaluation.other_half import Halves, People, window_connectivity
from brainjepa_core.signals.storing.series_store import SeriesStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

from ..small_models import ROIS, TR, small_model

RNG = np.random.default_rng(0)


def people(n, frames=120):
    """Scans whose ROIs go together in a way of their own."""
    mixing = RNG.standard_normal((n, 30, 5))
    noise = RNG.standard_normal((n, 30, frames))
    return [m @ RNG.standard_normal((5, frames)) + x for m, x in zip(mixing, noise, strict=True)]


@pytest.mark.parametrize("frames", [9, 16, 40])
def test_a_network_that_starts_as_connectivity_reads_windows_of_any_length(tmp_path, frames):
    model = small_model(tmp_path / "run").model
    for name, weights in model.named_parameters():
        if name.endswith(("attn.proj.weight", "attn.proj.bias", "fc2.weight", "fc2.bias")):
            weights.data.zero_()  # training has moved them
    window, known = RNG.standard_normal((ROIS, frames)), np.ones(ROIS, bool)
    known[2] = False
    found, expected = window_reader(model)(window, known), window_connectivity(window, known)
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_who_it_is_among_the_people_of_the_hospital():
    scans, known = people(12), np.ones(30, bool)
    halves = [Halves.of(scan, known) for scan in scans]
    sites = ["a"] * 6 + ["b"] * 6
    assert identified(People(halves, sites), window_connectivity, 60).mean() == 1
    others = halves[1:] + halves[:1]
    strangers = [
        Halves(one.first, two.second, known) for one, two in zip(halves, others, strict=True)
    ]
    assert identified(People(strangers, sites), window_connectivity, 60).mean() < 0.5
    # Alone at a hospital, anybody is found.
    assert identified(People(halves[:1], ["a"]), window_connectivity, 60).tolist() == [1]


def test_rows_of_both_yardsticks_stand_beside_connectivity():
    windows = Windows([SeriesStore(people(40), TR)], WindowSettings(frames=16, tr=TR))
    asked = other_half(windows, np.arange(40) >= 20, {}, "diagnosis")
    assert [one.metric for one in asked] == ["r2 of the other half", "identified within site"]
    assert asked[0].conditions == ("from 64 s",)  # halves are of 120 s
    for one in asked:
        (row,) = one.rows
        assert row.model == "connectivity" and row.n == 20
        assert row.low <= row.mean <= row.high and row.metric == f"{one.metric}, from 64 s"
    assert 0 < asked[0].rows[0].mean < 1


def test_nothing_is_told_of_too_few_people_or_too_short_scans():
    short = Windows([SeriesStore(people(40, 60), TR)], WindowSettings(frames=16, tr=TR))
    assert other_half(short, np.arange(40) >= 20, {}, "age") == []
    few = Windows([SeriesStore(people(12), TR)], WindowSettings(frames=16, tr=TR))
    assert other_half(few, np.arange(12) >= 8, {}, "age") == []
