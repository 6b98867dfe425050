"""Pictures: the right size, small, and drawn whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import stats

from brainjepa_client.quality import figures, scan_figure
from brainjepa_client.quality.slices import UNKNOWN_TSNR, borders
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.cleaning.quality import scan_quality
from brainjepa_core.signals.scan import RawScan, Slice

PLAIN = Atlas.from_names([f"roi{i}" for i in range(12)])
NETWORKS = Atlas.from_names([f"Net{1 + i % 3:02d}_LH_{i}" for i in range(12)])


def raw_scan(rois: int = 12, frames: int = 60, **changes) -> RawScan:
    rng = np.random.default_rng(0)
    series = 100 + rng.standard_normal((rois, frames))
    series[0] = np.nan
    fd = np.abs(rng.standard_normal(frames))
    facts = {"coverage": np.ones(rois), "tsnr": 40.0, "fd": fd, "keep": fd < 1.5}
    return RawScan(series, 2.0, **{**facts, **changes})


def draw(path, raw: RawScan, atlas: Atlas, cleaned=None, **more):
    cleaned = raw.series if cleaned is None else cleaned
    return scan_figure.draw_scan(path, raw, cleaned, atlas, scan_quality(raw, cleaned), **more)


def test_a_long_scan_of_the_default_atlas_is_a_small_file(tmp_path):
    atlas = load_atlas()
    raw = raw_scan(len(atlas), 1200)
    path = draw(tmp_path / "a" / "scan.png", raw, atlas, title="sub-1", fd_threshold=0.5)
    assert imread(path).shape == (600, 1000, 4)
    assert path.stat().st_size < 150_000
    assert [file.name for file in path.parent.iterdir()] == ["scan.png"]


@pytest.mark.parametrize("atlas", [PLAIN, NETWORKS], ids=["plain", "networks"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"fd": None, "keep": None, "tsnr": float("nan")}, {"keep": np.zeros(60, bool)}],
    ids=["all known", "unknown", "all censored"],
)
def test_every_scan_can_be_drawn(tmp_path, atlas, changes):
    raw = raw_scan(**changes)
    path = draw(tmp_path / "scan.png", raw, atlas)
    assert imread(path).shape == (600, 1000, 4)


def drawn_figures(monkeypatch) -> list:
    drawn, save = [], figures.Figure.savefig
    monkeypatch.setattr(
        scan_figure.Figure,
        "savefig",
        lambda self, *a, **k: drawn.append(self) or save(self, *a, **k),
    )
    return drawn


def shown_on(figure) -> list:
    """Axes of a figure, and those within them."""
    return [one for ax in figure.axes for one in (ax, *ax.child_axes)]


def test_pictures_of_scans_have_one_scale(tmp_path, monkeypatch):
    """Arrow keys go from one to the next: equal colours must be equal numbers."""
    drawn = drawn_figures(monkeypatch)
    noise = raw_scan(frames=400)
    alike = raw_scan(frames=400)
    alike.series[1:] += 5 * np.random.default_rng(1).standard_normal(400)
    for raw in (noise, alike):
        draw(tmp_path / "scan.png", raw, NETWORKS)
    limits = [[image.get_clim() for ax in shown_on(f) for image in ax.images] for f in drawn]
    assert limits[0] == limits[1] == [(-2, 2), (-0.8, 0.8), (0, 300)]
    site = figures.mean_connectivity(np.eye(12), NETWORKS)
    assert site.axes[0].images[0].get_clim() == (-0.8, 0.8)
    titles = [ax.get_title() for ax in drawn[0].axes]  # both have a bar that says what they mean
    assert "left: signal, standard deviations from an ROI's mean" in titles
    assert "below: correlation between ROIs" in titles


def texts_of(figure) -> str:
    return " | ".join(t.get_text() for ax in figure.axes for t in (*ax.texts, ax._right_title))


@pytest.mark.parametrize(
    ("changes", "told", "expected"),
    [
        ({}, {}, "mean FD 0.8"),
        ({"fd": None}, {}, "motion is not known"),
        ({"fd": None}, {"mean_fd": 0.078}, "mean FD 0.078 mm; that of each frame is not known"),
        ({"fd": np.full(60, np.nan)}, {}, "motion is not known"),
        ({"keep": None}, {}, "censoring is not known"),
    ],
)
def test_the_picture_tells_what_the_table_tells(tmp_path, monkeypatch, changes, told, expected):
    drawn = drawn_figures(monkeypatch)
    raw = raw_scan(**changes)
    quality = scan_quality(raw, raw.series) | told
    scan_figure.draw_scan(tmp_path / "scan.png", raw, raw.series, PLAIN, quality)
    assert expected in texts_of(drawn[0])


def test_scans_without_censored_frames_or_any_signal_can_be_drawn(tmp_path):
    raw = raw_scan()
    draw(tmp_path / "a.png", raw, PLAIN, raw.series[:, raw.keep])
    draw(tmp_path / "b.png", raw, NETWORKS, np.full_like(raw.series, np.nan))


def test_fewer_values_are_means_of_neighbours():
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    values[0, 2:4] = np.nan
    fewer = figures.fewer(values, 3, axis=1)
    assert np.array_equal(fewer, [[0.5, np.nan, 4.5], [6.5, 8.5, 10.5]], equal_nan=True)
    assert figures.fewer(values, 6, axis=1) is values


def slices(columns: int = 8) -> tuple[Slice, ...]:
    rois = np.zeros((6, columns), np.int32)
    rois[1:4, 1:3], rois[1:4, 3:5] = 1, 2
    tsnr = np.where(rois > 0, 30.0 * rois, np.nan).astype(np.float32)
    return (Slice(np.ones(rois.shape, np.float32), rois, tsnr, 1.5),) * 3


def test_a_scan_with_slices_shows_the_atlas_and_tsnr_on_them(tmp_path, monkeypatch):
    drawn = drawn_figures(monkeypatch)
    cuts = slices()
    path = draw(tmp_path / "scan.png", raw_scan(slices=cuts), PLAIN)
    assert imread(path).shape[0] > 800
    (figure,) = drawn
    pairs = [ax.images for ax in figure.axes if len(ax.images) == 2]
    assert len(pairs) == 6  # a mean image each, with borders or tSNR on it
    for _, above in pairs[3:]:
        assert np.array_equal(above.get_array().filled(np.nan), cuts[0].tsnr, equal_nan=True)
        assert above.get_clim() == (0, 100)
    told = " ".join(t.get_text() for t in figure.texts)
    assert "mean image and outlines of named list" in told and "tSNR of the atlas' voxels" in told


def test_an_image_without_a_mean_has_no_map_and_says_so(tmp_path, monkeypatch):
    drawn = drawn_figures(monkeypatch)
    path = draw(tmp_path / "scan.png", raw_scan(slices=slices(), tsnr=1e-8), PLAIN)
    assert 600 < imread(path).shape[0] < 850
    assert UNKNOWN_TSNR in " ".join(t.get_text() for t in drawn[0].texts)
    assert "tSNR of the atlas" not in " ".join(t.get_text() for t in drawn[0].texts)


def test_series_with_a_mean_show_tsnr_of_each_roi_in_the_matrix_s_order(tmp_path, monkeypatch):
    drawn = drawn_figures(monkeypatch)
    raw = raw_scan()
    draw(tmp_path / "scan.png", raw, NETWORKS)
    (strip,) = [ax for one in drawn[0].axes for ax in one.child_axes]
    order = [i for network in range(3) for i in range(network, 12, 3)]
    expected = [np.nan, *(s.mean() / s.std() for s in raw.series[order][1:])]
    shown = strip.images[0].get_array().filled(np.nan)[:, 0]
    assert np.allclose(shown, expected, equal_nan=True)
    raw.series[:] -= 100
    draw(tmp_path / "scan.png", raw, NETWORKS)
    assert not [ax for one in drawn[1].axes for ax in one.child_axes]
    assert "DVARS and tSNR are not known: the signals have no mean" in texts_of(drawn[1])


def test_borders_lie_between_regions_alone():
    (one, *_) = slices()
    assert np.argwhere(borders(one.rois) == 1).tolist() == [[1, 2], [2, 2], [3, 2]]


def test_the_global_signal_is_the_mean_over_regions(tmp_path, monkeypatch):
    drawn = drawn_figures(monkeypatch)
    raw = raw_scan()
    draw(tmp_path / "scan.png", raw, PLAIN)
    (line,) = next(ax for ax in drawn[0].axes if "global" in ax.get_ylabel()).lines
    assert np.allclose(line.get_ydata(), stats.zscore(raw.series[1:].mean(0)))


def test_matrix_rows_follow_networks():
    fc = np.arange(144, dtype=np.float64).reshape(12, 12) / 144
    ax = figures.mean_connectivity(fc, NETWORKS).axes[0]
    order = [i for network in range(3) for i in range(network, 12, 3)]
    expected = fc[np.ix_(order, order)]
    shown = ax.images[0].get_array().filled(np.nan)
    off = ~np.eye(12, dtype=bool)
    assert np.allclose(shown[off], expected[off]) and np.isnan(np.diag(shown)).all()
    labels = [
        t.get_text() for t in figures.mean_connectivity(fc, NETWORKS).axes[0].get_yticklabels()
    ]
    assert labels == ["Net01", "Net02", "Net03"]


def test_coverage_marks_rois_that_some_scans_lack():
    seen = np.ones(450)
    seen[[3, 7]] = 0.5, 0.2
    figure = figures.roi_coverage(seen, np.array(load_atlas().centroids))
    from_behind = figure.axes[1]
    assert list(from_behind.collections[1].get_array()) == [0.5, 0.2]


def test_dvars_stands_over_the_carpet_from_zero(tmp_path, monkeypatch):
    drawn = drawn_figures(monkeypatch)
    raw = raw_scan()
    draw(tmp_path / "scan.png", raw, PLAIN)
    ax = next(ax for ax in drawn[0].axes if "DVARS" in ax.get_ylabel())
    (line,) = ax.lines
    live = raw.series[1:]
    steps = 100 * (live[:, 1:] - live[:, :-1]) / live.mean(1, keepdims=True)
    assert np.allclose(line.get_ydata()[1:], np.sqrt((steps**2).mean(0)))
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > np.nanmax(line.get_ydata())
    cleaned = raw_scan()
    cleaned.series[:] -= 100
    draw(tmp_path / "scan.png", cleaned, PLAIN)
    assert "not known: the signals have no mean" in texts_of(drawn[1])
