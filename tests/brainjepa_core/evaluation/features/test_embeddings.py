"""Embeddings on disk: the same numbers as without, and anew only where content changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.features import embeddings
from brainjepa_core.evaluation.features.embeddings import cached_embeddings, person_key
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

ROIS, FRAMES = 6, 12
NETWORKS = np.array([0, 0, 1, 1, 2, 2])
POOLS = ("mean", "network_covariance", "network_mean", "roi_mean")


def make_store(folder, changed=None, extra=False, tr=2.0):
    store = ScanStore.create(folder / "site", Atlas.from_names([f"r{i}" for i in range(ROIS)]))
    for person in range(3):
        series = np.random.default_rng(person).standard_normal((ROIS, 2 * FRAMES))
        series[0, 0] += 1 if person == changed else 0
        store.append(series, subject=f"sub-{person}", tr=tr)
    if extra:
        store.append(
            np.random.default_rng(9).standard_normal((ROIS, 20)),
            subject="sub-0",
            session="2",
            tr=tr,
        )
    return store


def make_windows(folder, scaling="zscore", **choices):
    settings = WindowSettings(frames=FRAMES, scaling=scaling)
    return Windows([make_store(folder, **choices)], settings)


def make_model(seed=0):
    torch.manual_seed(seed)
    sizes = dict(width=8, depth=1, heads=2, predictor_width=8, predictor_heads=2)
    s = BrainJepaSettings.preset("tiny", rois=ROIS, frames=FRAMES, patch=4, components=2, **sizes)
    return BrainJEPA(s, torch.randn(ROIS, 2)).eval()


@pytest.fixture
def computed(monkeypatch):
    """Numbers of people that were embedded, rather than read."""
    asked = []

    def spy(model, windows, people, *rest):
        asked.extend(people)
        return embed_people(model, windows, people, *rest)

    monkeypatch.setattr(embeddings, "embed_people", spy)
    return asked


def test_read_again_and_equal(tmp_path, computed):
    windows, model, cache = make_windows(tmp_path), make_model(), tmp_path / "cache"
    expected = embed_people(model, windows, [2, 0], POOLS, NETWORKS)
    told = []
    for _ in range(2):
        found = cached_embeddings(
            model, windows, [2, 0], POOLS, NETWORKS, cache, lambda *done: told.append(done)
        )
        assert list(found) == list(POOLS)
        for pool in POOLS:
            assert np.array_equal(found[pool], expected[pool].astype(np.float32))
    assert computed == [2, 0]
    assert told == [(1, 2), (2, 2)] * 2
    assert found["roi_mean"].shape == (2, ROIS * 8) and found["network_mean"].shape == (2, 3 * 8)
    without = cached_embeddings(model, windows, [2, 0], POOLS, NETWORKS)
    assert all(np.array_equal(without[pool], found[pool]) for pool in POOLS)
    assert computed == [2, 0] * 2


@pytest.mark.parametrize(
    "choices, expected",
    [
        ({}, []),
        ({"changed": 1}, [1]),
        ({"extra": True}, [0]),
        ({"tr": 1.0}, [0, 1, 2]),
        ({"scaling": "pooled"}, [0, 1, 2]),
    ],
)
def test_only_whom_a_change_concerns_is_embedded_again(tmp_path, computed, choices, expected):
    model, cache = make_model(), tmp_path / "cache"
    cached_embeddings(model, make_windows(tmp_path / "a"), range(3), cache=cache)
    computed.clear()
    changed = make_windows(tmp_path / "b", **choices)
    cached_embeddings(model, changed, range(3), cache=cache)
    assert computed == expected


def test_with_a_scale_of_the_site_everybody_depends_on_everybody(tmp_path):
    before = make_windows(tmp_path / "a", "pooled")
    after = make_windows(tmp_path / "b", "pooled", changed=1)
    assert all(person_key(before, p) != person_key(after, p) for p in range(3))


def test_another_model_pool_or_network_is_another_entry(tmp_path, computed):
    windows, cache, model = make_windows(tmp_path), tmp_path / "cache", make_model()
    cached_embeddings(model, windows, [0], ("mean",), NETWORKS, cache)
    cached_embeddings(make_model(1), windows, [0], ("mean",), NETWORKS, cache)
    cached_embeddings(model, windows, [0], ("std",), NETWORKS, cache)
    cached_embeddings(model, windows, [0], ("mean",), NETWORKS[::-1].copy(), cache)
    assert computed == [0] * 4
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    cached_embeddings(model, windows, [0], ("mean",), NETWORKS, cache)
    assert computed == [0] * 5


def test_a_damaged_entry_is_made_anew(tmp_path, computed):
    windows, cache, model = make_windows(tmp_path), tmp_path / "cache", make_model()
    expected = cached_embeddings(model, windows, [0], cache=cache)
    (file,) = cache.rglob("*.npz")
    for content in (b"", file.read_bytes()[:40], b"nonsense"):
        file.write_bytes(content)
        found = cached_embeddings(model, windows, [0], cache=cache)
        assert np.array_equal(found["mean"], expected["mean"])
    assert computed == [0] * 4
    assert "sub-0" not in str(file)


@pytest.mark.parametrize("what", ["save_arrays", "_make_newest"])
def test_a_full_disk_costs_time_alone(tmp_path, monkeypatch, what):
    def no_room(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    windows, cache, model = make_windows(tmp_path), tmp_path / "cache", make_model()
    expected = cached_embeddings(model, windows, [0])["mean"]
    monkeypatch.setattr(embeddings, what, no_room)
    found = cached_embeddings(model, windows, [0], cache=cache, keep=2)["mean"]
    assert np.array_equal(found, expected)


def test_people_share_the_responses_to_blank_windows(tmp_path, monkeypatch):
    """Whole scans of three people, two windows each, cost seven passes: six and one blank."""
    windows, model, passes = make_windows(tmp_path), make_model(), []
    read = model.latents
    monkeypatch.setattr(model, "latents", lambda *given: passes.append(1) or read(*given))
    pool = "latent_connectivity"
    found = cached_embeddings(model, windows, range(3), (pool,))[pool]
    assert len(passes) == 7
    alone = [embed_people(model, windows, [person], (pool,))[pool][0] for person in range(3)]
    np.testing.assert_array_equal(found, np.float32(alone))
