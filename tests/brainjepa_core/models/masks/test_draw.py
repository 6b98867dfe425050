"""Masks of every mode: disjoint, deterministic, and independent of who else is in the batch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainjepa_core.models.masks.draw import Mask, mask_batch, sample_mask
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.streams import sample_stream

MODES = ("balanced", "official", "multiblock")
SMALLEST = {"balanced": (4, 1), "official": (4, 6), "multiblock": (4, 1)}


def draw(mode: str = "balanced", rois: int = 12, patches: int = 10, **numbers) -> Mask:
    numbers = {"seed": 0, "step": 0, "sample": 0, **numbers}
    return sample_mask(MaskSettings(mode=mode), rois=rois, patches=patches, **numbers)


def same(a: Mask, b: Mask) -> bool:
    return np.array_equal(a.context, b.context) and np.array_equal(a.target, b.target)


@given(
    st.sampled_from(MODES),
    st.integers(0, 60),
    st.integers(0, 12),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
@example("balanced", 0, 0, 0, 0, 0)
@example("official", 0, 0, 0, 0, 0)
@example("multiblock", 0, 0, 0, 0, 0)
def test_every_grid_gives_disjoint_masks_of_its_tokens(mode, more, longer, seed, step, sample):
    rois, patches = SMALLEST[mode][0] + more, SMALLEST[mode][1] + longer
    numbers = {"rois": rois, "patches": patches, "seed": seed, "step": step, "sample": sample}
    mask = draw(mode, **numbers)
    context, target = set(mask.context.tolist()), set(mask.target.tolist())
    assert context and target and not context & target
    assert min(context | target) >= 0 and max(context | target) < rois * patches
    assert mask.context.tolist() == sorted(context)
    assert mode == "official" or len(target) == len(mask.target)
    assert mask.context.dtype == mask.target.dtype == np.int64
    assert same(mask, draw(mode, **numbers))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", ["seed", "step", "sample", "mask"])
def test_every_number_gives_another_mask(mode, number):
    masks = [draw(mode, 40, **{number: value}) for value in (0, 1, 2, 2**32, 2**64 - 1)]
    assert not any(same(a, b) for a, b in itertools.combinations(masks, 2))


def test_streams_never_meet():
    numbers = list(itertools.product((0, 1, 2**63), repeat=5))
    starts = {tuple(sample_stream(*five).integers(0, 2**63, size=4)) for five in numbers}
    assert len(starts) == len(numbers)
    # Neighbouring numbers, the ones that are used, are as good as unrelated ones.
    values = np.stack([sample_stream(0, 0, sample, 0, 1).random(2000) for sample in range(20)])
    off = np.corrcoef(values)[np.triu_indices(20, 1)]
    assert np.abs(off).max() < 5 / math.sqrt(2000)


def validity(batch: int, tokens: int, share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, tokens)) < share


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_is_the_same_whoever_else_is_in_the_batch(mode):
    settings = MaskSettings(mode=mode, masks_per_sample=2)
    numbers = {"rois": 12, "patches": 8, "seed": 4, "step": 9}
    valid = np.concatenate([validity(2, 96, 0.9, 0), validity(3, 96, 0.5, 1)])
    alone = [
        sample_mask(settings, **numbers, sample=7, mask=k, token_valid=valid[0]) for k in range(2)
    ]
    for others, seen in (([], [0]), ([1, 2], [0, 1, 2]), ([8, 9, 10, 11], [0, 1, 2, 3, 4])):
        batch = mask_batch(settings, **numbers, samples=[7, *others], token_valid=valid[seen])
        for k, mask in enumerate(alone):
            for index, real, expected in (
                (batch.context_index, batch.context_valid, mask.context),
                (batch.target_index, batch.target_valid, mask.target),
            ):
                row = index[0, k] if real is None else index[0, k][real[0, k]]
                assert row.tolist() == expected.tolist()


@given(
    st.sampled_from(MODES), st.lists(st.integers(0, 99), min_size=1, max_size=4), st.integers(0, 99)
)
def test_batches_hold_the_masks_of_their_samples(mode, samples, seed):
    settings = MaskSettings(mode=mode, masks_per_sample=3)
    valid = validity(len(samples), 90, 0.8, seed)
    numbers = {"rois": 9, "patches": 10, "seed": seed, "step": 1}
    batch = mask_batch(settings, **numbers, samples=samples, token_valid=valid)
    for name in ("context", "target"):
        index = getattr(batch, f"{name}_index").numpy()
        real = getattr(batch, f"{name}_valid")
        assert index.dtype == np.int64
        real = np.ones(index.shape, bool) if real is None else real.numpy()
        assert real.shape == index.shape and real.any(-1).all() and real.all(-1).any()
        assert not index[~real].any()
        for place, k in np.ndindex(len(samples), 3):
            mask = sample_mask(
                settings, **numbers, sample=samples[place], mask=k, token_valid=valid[place]
            )
            tokens = index[place, k][real[place, k]]
            assert tokens.tolist() == getattr(mask, name).tolist()
            assert valid[place, tokens].all()
            assert (np.diff(real[place, k].astype(int)) <= 0).all()  # padding comes last


@pytest.mark.parametrize("mode", MODES)
def test_invalid_tokens_leave_a_mask_that_is_otherwise_the_same(mode):
    whole = draw(mode, 20)
    valid = validity(1, 200, 0.8, 0)[0]
    found = draw(mode, 20, token_valid=valid)
    assert found.context.tolist() == [t for t in whole.context.tolist() if valid[t]]
    assert found.target.tolist() == [t for t in whole.target.tolist() if valid[t]]
    assert len(found.context) < len(whole.context) and len(found.target) < len(whole.target)


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_without_context_or_target_is_drawn_again(mode):
    """Few valid tokens: some first draws fail, and every sample still gets a usable mask."""
    valid = np.zeros(100, bool)
    valid[[1, 12, 33, 34, 75, 76, 97, 88]] = True
    redrawn = 0
    for sample in range(60):
        mask = draw(mode, 10, sample=sample, token_valid=valid)
        assert len(mask.context) and len(mask.target)
        first = draw(mode, 10, sample=sample)
        redrawn += not (set(mask.context.tolist()) <= set(first.context.tolist()))
    assert redrawn > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_valid", [2, 3, 10])
def test_what_is_too_short_for_any_draw_is_cut_in_half(mode, n_valid):
    valid = np.zeros((10, 10), bool)
    valid[:n_valid, 0] = True  # one time patch of ten
    halves = 0
    for step in range(40):
        mask = draw(mode, 10, step=step, token_valid=valid.ravel())
        context, target = set(mask.context.tolist()), set(mask.target.tolist())
        assert context and target and not context & target
        assert valid.ravel()[[*context, *target]].all() and mask.context.tolist() == sorted(context)
        halves += len(context) == n_valid // 2 and len(context | target) == n_valid
        again = draw(mode, 10, step=step, token_valid=valid.ravel())
        assert again.context.tolist() == mask.context.tolist()
        assert again.target.tolist() == mask.target.tolist()
    assert halves or mode == "multiblock" or n_valid == 10


def test_shares_that_leave_no_context_are_refused_whatever_is_valid():
    nothing = {"alpha_roi": (1.0, 1.0), "observation": (0.0, 0.0)}
    settings = MaskSettings(mode="multiblock", alpha_time=(1, 1), beta_gamma_roi=(1, 1), **nothing)
    valid = np.arange(100) < 50
    with pytest.raises(ValueError, match="found 50 of 100 valid and no usable mask in 32 draws"):
        sample_mask(settings, rois=10, patches=10, seed=0, step=0, sample=0, token_valid=valid)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_valid", [0, 1])
def test_too_few_valid_tokens_are_refused(mode, n_valid):
    valid = np.zeros(100, bool)
    valid[:n_valid] = True
    text = f"found {n_valid} of 100 valid and no usable mask in 32 draws; leave this scan out"
    with pytest.raises(ValueError, match=text):
        draw(mode, 10, token_valid=valid)


@pytest.mark.parametrize(
    ("mode", "rois", "patches", "least"),
    [("balanced", 3, 10, 1), ("balanced", 4, 0, 1), ("official", 9, 5, 6), ("multiblock", 3, 1, 1)],
)
def test_grids_that_are_too_small_are_refused(mode, rois, patches, least):
    text = f"at least 4 ROIs and {least} time patches for mode '{mode}', found {rois} and {patches}"
    with pytest.raises(ValueError, match=text):
        draw(mode, rois, patches)


@pytest.mark.parametrize("number", ["seed", "step", "sample", "mask"])
@pytest.mark.parametrize("value", [-1, 2**64])
def test_numbers_beyond_the_counter_are_refused(number, value):
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*64 - 1, found .*number them from 0"):
        draw(**{number: value})


@given(st.integers(4, 40), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**40))
def test_multiblock_targets_are_unions_of_equal_rectangles(rois, patches, blocks, step):
    settings = MaskSettings(mode="multiblock", blocks=blocks)
    mask = sample_mask(settings, rois=rois, patches=patches, seed=0, step=step, sample=0)
    target = np.zeros((rois, patches), bool)
    target.flat[mask.target] = True
    runs = {tuple(row.tolist()) for row in target if row.any()}
    height = target.any(1).sum()
    assert height <= blocks * max(1, round(rois * 0.3))
    assert len(runs) <= 2**blocks - 1
    if blocks == 1:
        times = np.flatnonzero(target.any(0))
        assert len(runs) == 1 and (np.diff(times) == 1).all()
        assert 1 <= len(times) <= max(1, int(0.6 * patches))
        assert height >= max(1, round(rois * 0.15))
    context = np.zeros((rois, patches), bool)
    context.flat[mask.context] = True
    assert not (context & target).any()


@pytest.mark.parametrize(
    "name", ["observation", "alpha_roi", "alpha_time", "beta_gamma_roi", "beta_gamma_time"]
)
@pytest.mark.parametrize("interval", [(0.5, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_shares_outside_zero_to_one_are_refused(name, interval):
    with pytest.raises(ValidationError, match=rf"expected {name} as \(low, high\).*not counts"):
        MaskSettings(**{name: interval})


def test_settings_refuse_what_they_do_not_know_and_do_not_change():
    for bad in ({"mode": "random"}, {"blocks": 0}, {"masks_per_sample": 0}, {"shares": 1}):
        with pytest.raises(ValidationError):
            MaskSettings(**bad)
    with pytest.raises(ValidationError, match="frozen"):
        MaskSettings().blocks = 2
    settings = MaskSettings(mode="multiblock", blocks=3, alpha_time=(0.1, 0.2))
    assert MaskSettings(**settings.model_dump()) == settings
