"""ROIs in views of the brain: each where it belongs, on one scale, what matters in front."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from brainjepa_core.atlas import load_atlas
from brainjepa_core.pages.brain import brain_views, reach_of
from brainjepa_core.pages.palette import SEQUENTIAL

PLACES = np.array([[-40.0, 10, 20], [-30, 0, 5], [0, 5, 5], [50, -20, 10]])
VALUES = np.array([0.5, -2.0, np.nan, 1.0])


def dots(figure: Figure, view: int) -> dict[tuple[float, float], float]:
    """Value by place of the coloured dots, in the order in which they are drawn."""
    drawn = figure.axes[view].collections[1]
    places = map(tuple, np.asarray(drawn.get_offsets()))
    return dict(zip(places, np.asarray(drawn.get_array()).tolist(), strict=True))


def test_hemispheres_and_axes():
    figure = brain_views({"a": VALUES}, PLACES, "z")
    left, behind, above, right = (dots(figure, view) for view in range(4))
    assert left == {(10, 20): 0.5, (0, 5): -2.0} and right == {(-20, 10): 1.0}
    assert behind == {(-40, 20): 0.5, (50, 10): 1.0, (-30, 5): -2.0}
    assert list(above) == [(-40, 10), (50, -20), (-30, 0)]  # the largest in front
    unknown = [tuple(ax.collections[0].get_offsets()[0]) for ax in figure.axes[:4]]
    assert unknown == [(5, 5), (0, 5), (0, 5), (5, 5)]  # in the middle: on both sides
    letters = [[text.get_text() for text in ax.texts] for ax in figure.axes[:4]]
    assert letters == [[], ["L", "R"], ["L", "R"], []]
    assert figure.axes[0].xaxis_inverted() and not figure.axes[3].xaxis_inverted()


def test_colours_are_two_sided_unless_told():
    figure = brain_views({"a": VALUES, "b": VALUES * 2}, PLACES, "z")
    low, high = figure.axes[0].collections[1].get_clim()
    assert -low == high == pytest.approx(reach_of([VALUES, VALUES * 2]))
    shares = np.array([0.5, 0.2, np.nan, 0.9])
    figure = brain_views(
        {"": shares}, PLACES, "share", colors=SEQUENTIAL, limits=(0.0, 1.0), neutral=1.0
    )
    drawn = figure.axes[1].collections[1]
    assert drawn.get_clim() == (0, 1) and drawn.get_cmap().name == SEQUENTIAL
    assert list(dots(figure, 1).values()) == [0.9, 0.5, 0.2]  # the least in front


def test_rings_are_in_front():
    marked = {"a": np.array([True, False, False, False])}
    drawn = brain_views({"a": VALUES}, PLACES, "z", marked=marked).axes[1].collections[1]
    assert drawn.get_array()[-1] == 0.5
    assert_allclose(drawn.get_linewidths(), [0.3, 0.3, 1.6])


@pytest.mark.parametrize("larger", [1, 3], ids=["in MNI space", "larger than it"])
def test_one_scale_in_all_views(larger):
    places = larger * np.array(load_atlas().centroids)
    figure = brain_views({"a": np.ones(len(places))}, places, "z")
    figure.savefig(BytesIO(), format="png")
    scales = []
    for ax in figure.axes[:4]:
        box = ax.get_window_extent()
        scales += [box.width / np.ptp(ax.get_xlim()), box.height / np.ptp(ax.get_ylim())]
    assert_allclose(scales, scales[0], rtol=0.02)
    low, high = figure.axes[2].get_xlim()
    assert low < places[:, 0].min() and high > places[:, 0].max()


def test_reach_leaves_outliers_out():
    assert reach_of([np.r_[np.ones(999), 1e9], np.array([np.nan])]) == 1
    assert reach_of([np.zeros(3)]) == reach_of([np.array([np.nan])]) == 1
    assert reach_of([np.array([0.0] * 999 + [-4.0])]) == 4
