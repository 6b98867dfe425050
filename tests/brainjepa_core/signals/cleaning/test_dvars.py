"""DVARS of ROIs' signals: a naive one, a known one, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.signals.cleaning.dvars import dvars


def test_of_noise_it_is_the_root_of_two_standard_deviations():
    """Independent frames of standard deviation 1 % of the mean: sqrt(2) % from one to the next."""
    series = 1000 * (1 + 0.01 * np.random.default_rng(0).standard_normal((200, 300)))
    found = dvars(series)
    assert np.isnan(found[0]) and found.shape == (300,)
    assert found[1:].mean() == pytest.approx(np.sqrt(2), rel=0.01)


def test_a_jump_shows_in_its_own_frame_and_the_unit_of_the_scanner_does_not():
    series = 800 + np.random.default_rng(0).standard_normal((20, 60))
    series[:, 30] += 40
    found = dvars(series)
    assert set(np.argsort(found[1:])[-2:] + 1) == {30, 31} and found[30] == pytest.approx(
        5, rel=0.1
    )
    assert dvars(7 * series) == pytest.approx(found, nan_ok=True)


def test_rois_without_a_signal_do_not_count():
    series = 800 + np.random.default_rng(0).standard_normal((6, 40))
    more = np.concatenate([series, np.full((1, 40), np.nan), np.full((1, 40), 700.0)])
    assert dvars(more) == pytest.approx(dvars(series), nan_ok=True)


@pytest.mark.parametrize(
    "series",
    [
        np.random.default_rng(0).standard_normal((6, 40)),  # cleaned before
        -800 + np.random.default_rng(0).standard_normal((6, 40)),
        np.full((6, 40), np.nan),
        np.full((6, 40), 5.0),
        np.full((6, 1), 800.0),
    ],
    ids=["around 0", "negative", "missing", "constant", "one frame"],
)
def test_without_a_mean_or_a_signal_it_is_not_known(series):
    assert dvars(series) is None
