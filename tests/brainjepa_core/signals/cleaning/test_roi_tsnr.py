"""TSNR of ROIs' signals: a naive one, a known one, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.signals.cleaning.roi_tsnr import roi_tsnr


def test_it_is_the_mean_over_the_standard_deviation_of_each_live_roi():
    rng = np.random.default_rng(0)
    series = 800 + np.array([[4.0], [8.0], [16.0]]) * rng.standard_normal((3, 4000))
    more = np.concatenate([series, np.full((1, 4000), np.nan), np.full((1, 4000), 700.0)])
    found = roi_tsnr(more)
    assert found[:3] == pytest.approx([200, 100, 50], rel=0.05)
    assert found[:3] == pytest.approx([row.mean() / row.std() for row in series])
    assert np.isnan(found[3:]).all()
    assert roi_tsnr(7 * more) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    "series",
    [
        np.random.default_rng(0).standard_normal((6, 40)),
        -800 + np.random.default_rng(0).standard_normal((6, 40)),
        np.full((6, 40), np.nan),
        np.full((6, 40), 5.0),
        np.full((6, 1), 800.0),
        np.empty((0, 40)),
    ],
    ids=["around 0", "negative", "missing", "constant", "one frame", "no ROI"],
)
def test_without_a_mean_or_a_signal_it_is_not_known(series):
    assert roi_tsnr(series) is None
