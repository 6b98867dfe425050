"""Latent connectivity by loops over tokens; of an untrained network it is that of the signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from toy_family import LinearModel, LinearSettings

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.readout.latent import BLANKS, LatentReader, blank_windows
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masked_autoencoder.model import MaskedAutoencoder
from brainjepa_core.models.masked_autoencoder.settings import MaskedAutoencoderSettings
from brainjepa_core.signals.storing.series_store import SeriesStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.correlation import functional_connectivity

ROIS, FRAMES, PATCH = 6, 12, 4
ATLAS = Atlas.from_names([f"r{i}" for i in range(ROIS)])
SIZES = dict(
    rois=ROIS, frames=FRAMES, patch=PATCH, components=2, width=8, depth=2, heads=2,
    predictor_width=8, predictor_depth=1, predictor_heads=2,
)  # fmt: skip


def model_of(kind: str = "jepa", live: bool = False, **choices):
    """An untrained network; with blocks that do something where it is live."""
    torch.manual_seed(0)
    if kind == "jepa":
        model = BrainJEPA(BrainJepaSettings(**SIZES, **choices), torch.randn(ROIS, 2))
    else:
        shape = MaskedAutoencoderSettings(**SIZES, **choices)
        model = MaskedAutoencoder(shape, torch.randn(ROIS, 2))
    if live:
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def scan_of(frames: int, seed: int = 0, missing: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROIS, 2)) @ rng.standard_normal((2, frames))
    x = 30 + 5 * (x + rng.standard_normal((ROIS, frames)))
    if missing is not None:
        x[missing] = np.nan
    return x


def windows_of(*scans: np.ndarray, tr: float = 2.0, **choices) -> Windows:
    store = SeriesStore(scans, tr, ATLAS)
    return Windows([store], WindowSettings(frames=FRAMES, **choices), patch=PATCH)


@settings(deadline=None, max_examples=25)
@given(
    frames=st.integers(4, 40),
    seed=st.integers(0, 99),
    missing=st.sampled_from([None, 0, 5]),
    scaling=st.sampled_from(["zscore", "pooled"]),
    kind=st.sampled_from(["jepa", "mae"]),
)
def test_before_the_first_step_it_is_connectivity_on_any_scan(frames, seed, missing, scaling, kind):
    scan = scan_of(frames, seed, missing)
    windows = windows_of(scan, scan_of(30, 100), scaling=scaling)
    found = LatentReader(model_of(kind)).connectivity(windows, 0)
    known = np.isfinite(scan).all(1)
    aligned = windows.aligned(0)[0][0]
    assert_allclose(found[np.ix_(known, known)], functional_connectivity(aligned[known]), atol=1e-4)
    assert np.isnan(found[~known]).all() and np.isnan(found[:, ~known]).all()


def test_another_repetition_time_makes_no_difference():
    scan = scan_of(500, 3)
    windows = windows_of(scan, tr=0.8)
    found = LatentReader(model_of()).connectivity(windows, 0)
    assert_allclose(found, functional_connectivity(windows.aligned(0)[0][0]), atol=1e-4)


def test_the_published_start_is_not_connectivity():
    windows = windows_of(scan_of(40))
    model = model_of(start="published", position_scaling="minmax")
    for block in model.target_encoder.blocks:  # of 0.02 they hardly add anything at this size
        block.attn.proj.weight.data.mul_(50)
        block.mlp.fc2.weight.data.mul_(50)
    found = LatentReader(model).connectivity(windows, 0)
    expected = functional_connectivity(windows.aligned(0)[0][0])
    assert np.abs(found - expected).max() > 1e-3


def naive(model, windows: Windows, person: int) -> np.ndarray:
    """Window by window and token by token."""
    dots, norms = np.zeros((ROIS, ROIS)), np.zeros((ROIS, ROIS))
    for x, known in windows.aligned(person):
        level = x.mean(1) if windows.settings.scaling != "zscore" else np.zeros(ROIS)
        for start in range(0, x.shape[1], FRAMES):
            part = x[:, start : start + FRAMES]
            frames = np.arange(FRAMES) < part.shape[1]
            window, blank = (np.zeros((ROIS, FRAMES), np.float32) for _ in range(2))
            window[:, frames], blank[:, frames] = part, level[:, None]
            real = [frames[p : p + PATCH].any() for p in range(0, FRAMES, PATCH)]
            valid = torch.tensor([[bool(known[r] and w) for r in range(ROIS) for w in real]])
            answers = [
                model.embedder.latents(
                    model.patches(torch.tensor(y)[None]), model.basis_of(1), valid=valid
                )[0]
                for y in (window, blank)
            ]
            token = (answers[0] - answers[1]).detach().double().numpy()
            token = token.reshape(ROIS, len(real), -1)
            token[:, ~np.array(real)] = 0
            for i in range(ROIS):
                for j in range(ROIS):
                    if known[i] and known[j]:
                        dots[i, j] += (token[i] * token[j]).sum()
                        norms[i, j] += (token[i] ** 2).sum()
    with np.errstate(invalid="ignore"):
        return dots / np.sqrt(norms * norms.T)


@pytest.mark.parametrize("scaling", ["zscore", "pooled"])
def test_tokens_freed_of_the_blank_response_by_loops(scaling):
    model = model_of(live=True)
    windows = windows_of(scan_of(31), scan_of(40, 1, missing=2), scan_of(9, 2), scaling=scaling)
    reader = LatentReader(model)
    for person in (0, 1, 2, 0):  # again, when blanks are kept
        assert_allclose(
            reader.connectivity(windows, person), naive(model, windows, person), atol=1e-5
        )


def test_a_family_without_a_last_norm_is_read_as_it_embeds():
    shape = LinearSettings(rois=ROIS, frames=FRAMES, patch=PATCH, components=2)
    torch.manual_seed(0)
    model = LinearModel(shape, torch.randn(ROIS, 2))
    windows = windows_of(scan_of(30, missing=1))
    weight = model.embedder.features.weight.detach().double().numpy()
    x, known = windows.aligned(0)[0]
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % PATCH)))
    tokens = (padded.reshape(ROIS, -1, PATCH) @ weight.T).reshape(ROIS, -1)[known]
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    found = LatentReader(model.eval()).connectivity(windows, 0)
    assert_allclose(found[np.ix_(known, known)], unit @ unit.T, atol=1e-5)


def test_what_lies_in_padded_frames_and_missing_rois_is_not_read():
    model = model_of(live=True)
    windows = windows_of(scan_of(17, missing=3))

    class Wild:
        def whole_scans(self, subject):
            scans = []
            for x, frames, rois in windows.whole_scans(subject):
                x = x.copy()
                x[:, 3] = 1e3 * np.random.default_rng(0).standard_normal((len(x), FRAMES))
                scans.append((x, frames, rois))
            return scans

    found = LatentReader(model).connectivity(Wild(), 0)
    assert_allclose(found, LatentReader(model).connectivity(windows, 0), atol=1e-6)


def test_sessions_of_a_person_add_up_and_one_may_lack_what_another_has():
    scans = [scan_of(24, 1), scan_of(36, 2, missing=4)]
    reader = LatentReader(model_of())

    class Together:
        def __init__(self, chosen):
            self.chosen = chosen

        def whole_scans(self, subject):
            return [windows_of(scans[i]).whole_scans(0)[0] for i in self.chosen]

    both = reader.connectivity(Together([0, 1]), 0)
    z = [(s - s.mean(1, keepdims=True)) / s.std(1, keepdims=True) for s in scans]
    shared = [r for r in range(ROIS) if r != 4]
    joined = np.concatenate([z[0][shared], z[1][shared]], axis=1)
    assert_allclose(both[np.ix_(shared, shared)], np.corrcoef(joined), atol=1e-4)
    assert_allclose(both[4, shared], np.corrcoef(z[0])[4, shared], atol=1e-4)


def test_blank_windows_hold_each_roi_at_its_mean_over_the_scan():
    x = np.zeros((2, 2, 4), np.float32)
    x[0], x[1, :, :2] = [[1, 2, 3, 4], [1, -1, 1, -1]], [[5, 9], [1, -1]]
    frames = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    blank = blank_windows(x, frames)
    assert_allclose(blank[0], [[4] * 4, [0] * 4])
    assert_allclose(blank[1], [[4, 4, 0, 0], [0] * 4])


def test_few_blank_responses_are_kept_and_people_of_one_length_share_them(monkeypatch):
    model, asked = model_of(), []
    latents = model.latents
    monkeypatch.setattr(model, "latents", lambda *a: asked.append(1) or latents(*a))
    reader = LatentReader(model)
    windows = windows_of(*(scan_of(24, seed) for seed in range(4)))
    for person in range(4):
        reader.connectivity(windows, person)
    assert len(asked) == 4 * 2 + 1
    for frames in range(30, 30 + 2 * BLANKS):
        reader.connectivity(windows_of(scan_of(frames), scaling="pooled"), 0)
    assert len(reader._blanks) == BLANKS
