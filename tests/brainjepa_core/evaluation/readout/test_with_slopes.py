"""Read-outs in torch are those in numpy, whatever a person misses; their slopes are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from toy_family import LinearModel, LinearSettings

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.learning.inputs import ScanInputs
from brainjepa_core.evaluation.readout.connectivity import mean_connectivity, pairs_of
from brainjepa_core.evaluation.readout.latent import LatentReader
from brainjepa_core.evaluation.readout.log_connectivity import SHRINKAGE, LogConnectivity
from brainjepa_core.evaluation.readout.with_slopes import (
    LogWithSlopes,
    MatrixLog,
    answers_of,
    connectivity_with_slopes,
    pairs_with_slopes,
)
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.storing.series_store import SeriesStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows

ROIS, FRAMES, PATCH = 6, 12, 4
SIZES = dict(width=8, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2)


def live_model(kind: str) -> BrainModel:
    """A network whose blocks do something."""
    torch.manual_seed(0)
    shape = dict(rois=ROIS, frames=FRAMES, patch=PATCH, components=2)
    if kind == "jepa":
        model: BrainModel = BrainJEPA(BrainJepaSettings(**shape, **SIZES), torch.randn(ROIS, 2))
    else:
        model = LinearModel(LinearSettings(**shape), torch.randn(ROIS, 2))
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(params=["zscore", "pooled"])
def windows(request) -> Windows:
    """Scans of several lengths; one misses an ROI, one a scan is shorter than a window."""
    rng, scans = np.random.default_rng(0), []
    for frames, missing in ((40, None), (30, 1), (9, None), (36, None), (25, None)):
        x = rng.standard_normal((ROIS, 2)) @ rng.standard_normal((2, frames))
        x = 30 + 5 * (x + rng.standard_normal((ROIS, frames)))
        if missing is not None:
            x[missing] = np.nan
        scans.append(x)
    store = SeriesStore(scans, 2.0, Atlas.from_names([f"r{i}" for i in range(ROIS)]))
    return Windows([store], WindowSettings(frames=FRAMES, scaling=request.param), patch=PATCH)


def read(model: BrainModel, windows: Windows, people: list[int]):
    inputs = ScanInputs(windows, np.arange(windows.subjects), PATCH)
    x, blank, there, rois, person = inputs.windows_of(people)
    cut = [part.reshape(len(part), -1, PATCH) for part in (x, blank)]
    answers = answers_of(model.embedder, model.basis, *cut, there)
    return connectivity_with_slopes(answers, rois, person, len(people))


@pytest.mark.parametrize("kind", ["jepa", "linear"])
def test_connectivity_is_that_of_one_person_after_another(windows, kind):
    model, people = live_model(kind), [3, 1, 0, 2, 4]
    r, known = read(model, windows, people)
    z, pairs_known = pairs_with_slopes(r, known)
    for row, person in enumerate(people):
        expected = LatentReader(model).connectivity(windows, person)
        assert np.array_equal(known[row].numpy(), np.isfinite(expected))
        shown = np.where(np.isfinite(expected), expected, 0)
        assert_allclose(r[row].detach(), shown, atol=1e-6)
        found = torch.where(pairs_known[row], z[row], torch.nan).detach().numpy()
        assert_allclose(found, pairs_of(expected), atol=1e-5)


def test_log_connectivity_is_numpys_with_missing_rois_and_pairs():
    rng = np.random.default_rng(0)
    people = [np.corrcoef(rng.standard_normal((8, 12))) for _ in range(4)]
    consensus = mean_connectivity([pairs_of(c) for c in people])
    people[1][[2, 5]] = np.nan
    people[1][:, [2, 5]] = np.nan
    people[2][0, 3] = people[2][3, 0] = np.nan  # never seen together
    seen = LogConnectivity.of(consensus, 5)
    given = np.stack(people)
    known = torch.from_numpy(np.isfinite(given))
    found = LogWithSlopes.of(seen)(torch.from_numpy(np.nan_to_num(given)), known)
    assert_allclose(found, seen.features(given), atol=1e-10)


def test_the_logarithms_slopes_are_those_of_differences():
    """Also where eigenvalues meet, and below the shrinkage, where it is flat."""
    torch.manual_seed(0)
    x = torch.randn(3, 4, 4, dtype=torch.float64)
    given = x @ x.mT + 0.5 * torch.eye(4)
    given[1] = 2 * torch.eye(4) + 0.01 * (x[1] + x[1].mT)
    given[2, 0] = given[2, :, 0] = 0
    given[2, 0, 0] = SHRINKAGE / 2
    assert torch.autograd.gradcheck(
        lambda a: MatrixLog.apply((a + a.mT) / 2), given.requires_grad_()
    )
    same = (2 * torch.eye(3, dtype=torch.float64))[None].requires_grad_()
    weight = torch.randn(1, 3, 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad((MatrixLog.apply(same) * weight).sum(), same)
    assert_allclose(slope, (weight + weight.mT) / 4, atol=1e-12)  # 1 / 2 of the symmetric part


def test_slopes_reach_the_network_and_are_finite_whoever_misses_what(windows):
    model = live_model("jepa")
    model.embedder.requires_grad_(True)
    r, known = read(model, windows, [0, 1, 2, 3, 4])
    z, _ = pairs_with_slopes(r, known)
    seen = LogConnectivity.of(np.corrcoef(np.random.default_rng(0).standard_normal((ROIS, 20))), 4)
    (z.square().sum() + LogWithSlopes.of(seen)(r, known).square().sum()).backward()
    moved = dict(model.embedder.named_parameters())
    assert all(torch.isfinite(p.grad).all() for p in moved.values() if p.grad is not None)
    assert moved["patch.weight"].grad.abs().max() > 0
    assert moved["blocks.1.attn.qkv.weight"].grad.abs().max() > 0
