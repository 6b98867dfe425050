"""CSM: what it draws, what it may see, what tells of a window, and where time comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import People, make_recipe, small_model

from brainjepa_core.models.csm.model import CSM
from brainjepa_core.models.csm.settings import CsmSettings
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.settings import PretrainingSettings

LONG = CsmSettings.preset("tiny", rois=3, frames=60, patch=4, components=2, width=8)
MODEL = CSM(LONG, torch.zeros(3, 2))


def drawn(samples, valid=None, seed=0, step=0) -> list[int]:
    found = MODEL.draw(MaskSettings(), seed=seed, step=step, samples=samples, token_valid=valid)
    return found["masked"].tolist()


@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**40), patches=st.integers(1, 15))
def test_a_masked_frame_has_one_before_it_and_is_there(seed, step, patches):
    valid = np.zeros((2, 3, 15), bool)
    valid[0, :, :patches] = valid[1, 1, :patches] = True
    masked = drawn([4, 9], valid.reshape(2, -1), seed, step)
    assert all(1 <= m < min(4 * patches, 49) for m in masked)
    assert drawn([9], valid[1:].reshape(1, -1), seed, step) == masked[1:]


def test_lengths_are_even_and_masked_frames_even_within_them():
    masked = np.array(drawn(range(20000)))
    lengths = np.arange(10, 50)
    expected = np.array([np.mean((lengths > i) / (lengths - 1)) for i in range(1, 49)])
    found = np.bincount(masked, minlength=49)[1:] / len(masked)
    assert found.sum() == pytest.approx(1) and np.abs(found - expected).max() < 0.007


def test_a_window_of_one_frame_is_told():
    model = CSM(
        CsmSettings.preset("tiny", rois=3, frames=4, patch=1, components=2), torch.zeros(3, 2)
    )
    valid = np.zeros((1, 3, 4), bool)
    valid[..., 0] = True
    with pytest.raises(ValueError, match="at least 2 frames in every window, found 1; leave this"):
        model.draw(MaskSettings(), seed=0, step=0, samples=[0], token_valid=valid.reshape(1, -1))


def test_nothing_is_told_by_the_masked_frame_or_later_ones():
    x, masked = torch.randn(2, 3, 60), torch.tensor([7, 30])
    frames = x.mT[:, :50]
    back = MODEL.filled_in(frames, masked)
    for row, i in enumerate(masked):
        frames[row, i:] = 100.0
    assert torch.allclose(MODEL.filled_in(frames, masked), back, atol=1e-6)
    before = MODEL.filled_in(frames, masked)
    frames[0, 6] += torch.randn(3)
    changed = (MODEL.filled_in(frames, masked) - before).abs().amax(1)
    assert changed[0] > 0 == changed[1]


def test_rois_that_a_scan_misses_are_not_judged():
    x, masked = torch.randn(1, 3, 60), torch.tensor([7])
    valid = torch.ones(1, 3, 15, dtype=torch.bool)
    valid[0, 1] = False
    x[0, 1] = 0
    back = MODEL.filled_in(x.mT[:, :50], masked)[0]
    expected = (back - x[0, :, 7]).abs()[[0, 2]].mean()
    assert torch.allclose(MODEL.sample_losses(x, masked, valid.flatten(1))[0], expected)


def test_the_mean_pool_is_the_mean_state_and_the_class_frame_is_after_the_last():
    x = torch.randn(2, 3, 60)
    assert torch.allclose(MODEL.embed(x), MODEL.encoder.states(x.mT).mean(1), atol=1e-5)
    with torch.random.fork_rng():
        model = CSM(LONG.model_copy(update={"readout": "class"}), torch.zeros(3, 2))
    whole = model.embed(x)
    assert torch.allclose(whole, model.encoder.pooled(x.mT, torch.tensor([60, 60])), atol=1e-6)
    valid = (torch.arange(15) < 5).expand(2, 3, -1).flatten(1)
    short = model.encoder.pooled(x[..., :20].mT, torch.tensor([20, 20]))
    assert torch.allclose(model.embed(x, token_valid=valid), short, atol=1e-6)


def test_connectivity_is_read_from_the_signals_of_states():
    x = torch.randn(2, 3, 60)
    back = MODEL.encoder.unembed(MODEL.encoder.states(x.mT)).mT
    assert torch.allclose(MODEL.latents(x), back.reshape(2, 45, 4), atol=1e-6)


def test_time_comes_from_the_windows():
    study = PretrainingSettings(family="csm", windows={"frames": 32, "tr": 0.72})
    assert study.model_settings(5).tr == 0.72
    with pytest.raises(ValueError, match="expected a model without tr, which follow from the data"):
        PretrainingSettings(family="csm", model={"tr": 2.0})


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"width": 10}, "width to be a multiple of heads, found width 10 and 4 heads; change one"),
        ({"fewest": 60}, "expected fewest below most, found 60 and 50 frames; change one of the"),
        ({"places": 60}, r"windows of less than 60 frames \(model.places\), found 60; shorten"),
    ],
)
def test_sizes_that_do_not_fit(choices, text):
    with pytest.raises(ValueError, match=text):
        CsmSettings.preset("tiny", rois=3, **{"frames": 60, "patch": 4, **choices})


def test_everything_trained_is_reached_and_the_class_frame_is_left_as_drawn():
    model = small_model("csm", fewest=2)
    (batch,) = batches_of_step(People(), model, make_recipe(), 0)
    model(batch.x, **batch.draws).mean().backward()
    for name, p in model.named_parameters():
        trained = not name.startswith(("encoder.class_frame", "encoder.pooler"))
        assert p.requires_grad == model.roles.is_trained(name) == trained
        assert (p.grad is not None and bool(p.grad.abs().max() > 0)) == trained, name
