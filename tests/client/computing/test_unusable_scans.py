"""Scans and ROIs that nothing can be learned from stop nobody; they are named at the site alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from small_sites import ask, make_site, make_study

from brainjepa_client.answering import at_hand
from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.measure import measure_connectivity, networks_of, outcomes_of
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.local import pretrain_locally
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing import scan_arrays as arrays_module
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import GRADIENTS, TRAIN

ROIS = 8
ATLAS = Atlas.from_names([f"r{i}" for i in range(ROIS)])
SCALINGS = ("zscore", "pooled", "official")


def scan(seed: int, frames: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((3, frames))
    signal = rng.standard_normal((ROIS, 3)) @ shared + rng.standard_normal((ROIS, frames))
    return (100 + 5 * (seed % 12) + 10 * signal).astype(np.float32)


def good_store(path: Path, people: int = 12) -> ScanStore:
    store = ScanStore.create(path, ATLAS)
    for person in range(people):
        store.append(scan(person), subject=f"p{person:02}", tr=2.0)
    return store


def slip_in(store: ScanStore, series: np.ndarray, subject: str, **names: str) -> None:
    """A scan that a store took before it asked whether scans can be used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays_module, "require_usable", lambda series, _: ~np.isnan(series).all(1))
        assert store.append(series, subject=subject, tr=2.0, **names)


def study_of(scaling: str, patch: int = 16) -> PretrainingSettings:
    study = make_study()
    windows = WindowSettings(frames=32, scaling=scaling)
    model = {**study.model, "patch": patch, "width": max(8, patch)}
    return study.model_copy(update={"windows": windows, "model": model})


@pytest.fixture(params=SCALINGS)
def study(request) -> PretrainingSettings:
    return study_of(request.param)


def same_sum(a: Windows, b: Windows) -> None:
    one, other = connectivity_sum(a), connectivity_sum(b)
    assert_array_equal(one.z_sum, other.z_sum)
    assert_array_equal(one.pair_count, other.pair_count)


@pytest.mark.parametrize("frames", [2, 10])
def test_a_scan_that_is_too_short_counts_as_if_it_were_not_there(tmp_path, study, frames):
    clean, store = good_store(tmp_path / "clean"), good_store(tmp_path / "site")
    slip_in(store, scan(90, frames), "p03", run="2")  # of one who has another scan
    slip_in(store, scan(91, frames), "short")  # and of one who has not
    windows, expected = study.windows_of([store]), study.windows_of([clean])
    assert [windows.name(i) for i in range(12)] == [f"site/p{i:02}" for i in range(12)]
    least = max(16, 3)
    assert [str(scan).split(":")[0] for scan in windows.left_out] == ["site/p03 2", "site/short"]
    assert all(f"found {frames} frames" in scan.reason for scan in windows.left_out)
    assert frames == 2 or all(f"at least {least} frames" in s.reason for s in windows.left_out)
    same_sum(windows, expected)
    runs = [
        pretrain_locally([one], tmp_path / f"run-{n}", study)
        for n, one in enumerate((store, clean))
    ]
    weights = [(run / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]
    model = study.new_model(ConsensusBasis.load(tmp_path / "run-0" / "basis.npz"))
    embeddings = embed_people(model, windows, range(windows.subjects))["mean"]
    assert (np.abs(embeddings).sum(1) > 0).all() and len(embeddings) == 12


def test_two_frames_are_too_few_for_a_sum_whatever_the_patch(tmp_path):
    store = good_store(tmp_path / "site")
    slip_in(store, scan(90, 2), "short")
    slip_in(store, scan(91, 3), "three")
    windows = Windows([store], WindowSettings(frames=32))
    assert [scan.scan for scan in windows.left_out] == ["site/short"]
    assert connectivity_sum(windows).subjects == windows.subjects == 13
    outcomes = outcomes_of(windows, np.eye(ROIS) + 0.1)
    networks = networks_of(windows, np.random.default_rng(0).standard_normal((ROIS, 3)))
    assert measure_connectivity(windows, outcomes, networks) == []


@pytest.mark.parametrize("share", [0.03, 0.0])
def test_a_roi_with_a_sliver_of_the_others_spread_counts_as_missing(tmp_path, study, share):
    weak = scan(90)
    weak[5] = weak[5].mean() + share * (weak[5] - weak[5].mean())
    gone = np.where(np.arange(ROIS)[:, None] == 5, np.nan, weak).astype(np.float32)
    stores = [good_store(tmp_path / name) for name in ("slipped", "marked", "missing")]
    slip_in(stores[0], weak, "weak")
    stores[1].append(weak, subject="weak", tr=2.0)
    stores[2].append(gone, subject="weak", tr=2.0)
    assert [s.records[-1].missing for s in stores] == [(), ("r5",), ("r5",)]
    slipped, marked, missing = (study.windows_of([store]) for store in stores)
    same_sum(marked, missing)
    for windows in (slipped, marked):
        ((_, valid),) = windows.aligned(12)
        assert valid.tolist() == [roi != 5 for roi in range(ROIS)]
        assert connectivity_sum(windows).subjects == 13 and not windows.left_out
    pairs = np.array(np.triu_indices(ROIS, 1))
    of_it = (pairs == 5).any(0)
    assert_array_equal(connectivity_sum(slipped).pair_count, np.where(of_it, 12, 13))
    assert (pretrain_locally([stores[0]], tmp_path / "run", study) / "model.safetensors").exists()
    outcomes = outcomes_of(slipped, np.eye(ROIS) + 0.1)
    assert np.isfinite(outcomes.groups["connectivity"]).all()


def test_a_scale_that_leaves_a_roi_next_to_nothing_stops_no_sum(tmp_path):
    """30 % of the others' spread in its own scan, under 5 % of what it has at the site."""
    store = ScanStore.create(tmp_path / "site", ATLAS)
    for person in range(12):
        series = scan(person)
        series[5] = 100 + 10 * (series[5] - 100)  # a loud ROI
        store.append(series, subject=f"p{person:02}", tr=2.0)
    quiet = scan(90)
    quiet[5] = 2000 + 0.3 * (quiet[5] - quiet[5].mean())
    store.append(quiet, subject="quiet", tr=2.0)
    assert store.records[-1].missing == ()
    windows = study_of("pooled").windows_of([store])
    total = connectivity_sum(windows)
    pairs = np.array(np.triu_indices(ROIS, 1))
    assert_array_equal(total.pair_count, np.where((pairs == 5).any(0), 12, 13))
    assert np.isfinite(outcomes_of(windows, np.eye(ROIS) + 0.1).groups["connectivity"]).all()


def test_a_site_answers_and_names_what_it_left_out_in_its_own_log(tmp_path, monkeypatch):
    monkeypatch.setattr(at_hand, "SETTLED", 0.0)  # so that a new store stays open
    store = good_store(tmp_path / "site", 16)
    weak = scan(90)
    weak[5] = weak[5].mean()
    slip_in(store, weak, "canary-weak")
    slip_in(store, scan(91, 2), "canary-two")
    slip_in(store, scan(92, 10), "canary-ten")
    study = study_of("zscore")
    clean = good_store(tmp_path / "clean", 16)
    clean.append(weak, subject="canary-weak", tr=2.0)
    site, other = (make_site(s.path, tmp_path / f"state-{s.path.name}") for s in (store, clean))
    replies = [one.answer(ask(GRADIENTS, study=study)) for one in (site, other)]
    assert not replies[0].refusal
    for name in ("z_sum", "pair_count"):
        assert_array_equal(replies[0].arrays[name], replies[1].arrays[name])
    assert replies[0].metrics == replies[1].metrics
    total = connectivity_sum(study.windows_of([clean]))
    basis = ConsensusBasis.from_sum(total, 3, 0.2)
    arrays = {k: v.numpy().copy() for k, v in study.new_model(basis).state_dict().items()}
    request = ask(TRAIN, arrays, study, round=0, first_step=0, steps=6)
    reply = site.answer(request)
    assert not reply.refusal and np.isfinite(reply.metrics["loss"])
    assert "canary" not in repr(replies[0]) + repr(reply.metrics)
    log = (tmp_path / "state-site" / "log.txt").read_text()
    assert "left out: site/canary-two: expected a scan of at least 3 frames" in log
    assert "left out: site/canary-ten: expected a scan of at least 16 frames" in log
    assert log.count("left out: site/canary-ten") == 1  # of two requests for the same people


def test_people_without_a_usable_scan_are_no_training_people(tmp_path):
    store = good_store(tmp_path / "site", 3)
    for person in range(20):
        slip_in(store, scan(100 + person, 10), f"short-{person}")
    refusal = make_site(store.path, tmp_path / "state").answer(
        ask(GRADIENTS, study=study_of("zscore"))
    ).refusal  # fmt: skip
    assert "at least 4" in refusal


def test_where_no_scan_can_be_used_the_reason_is_told_without_a_name(tmp_path):
    store = ScanStore.create(tmp_path / "site", ATLAS)
    slip_in(store, scan(0, 2), "canary")
    text = "one scan that can be used, found 1 that cannot, the first for this: expected a scan of"
    with pytest.raises(ValueError, match=text) as error:
        Windows([store])
    assert "canary" not in str(error.value)


def test_a_scan_in_other_units_of_time_is_left_out_and_named(tmp_path, caplog, monkeypatch):
    store = good_store(tmp_path / "site")
    monkeypatch.setattr(arrays_module, "require_seconds", lambda tr: tr)  # as an old store took it
    store.append(scan(90), subject="ms", tr=2000.0)
    windows = Windows([store], WindowSettings(frames=32))
    assert windows.subjects == 12
    assert "left out: 1 scan: expected TRs within a factor of 20" in caplog.text
    assert "site/ms" not in caplog.text and windows.left_out[0].scan == "site/ms"
