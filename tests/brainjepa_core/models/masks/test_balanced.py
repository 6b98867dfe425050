"""Balanced masks: exactly fair to ROIs and to both ends of a window."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.models.masks.balanced import Layout, balanced_regions
from brainjepa_core.models.masks.draw import mask_batch, sample_mask
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.streams import sample_stream

shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).map(tuple)
any_settings = st.fixed_dictionaries(
    {
        name: shares
        for name in ("observation", "alpha_roi", "alpha_time", "beta_gamma_roi", "beta_gamma_time")
    }
)


class Chosen:
    """Stands for the sample's own generator, with every choice made by the test."""

    def __init__(self, order: np.ndarray, place: int = 0, mirrored: bool = False) -> None:
        self.order, self.place, self.mirrored = order, place, mirrored

    def permutation(self, rois: int) -> np.ndarray:
        assert rois == len(self.order)
        return self.order

    def integers(self, low: int, high: int) -> int:
        self.places = high
        assert low == 0 and self.place < high
        return self.place

    def random(self) -> float:
        return 0.25 if self.mirrored else 0.75


def layout_of(step: int, rois: int, patches: int, settings: MaskSettings) -> Layout:
    return Layout.drawn(settings, rois, patches, sample_stream(0, step, 0, 0, 0))


def every_place(layout: Layout, patches: int) -> list[tuple[int, bool]]:
    return list(itertools.product(range(patches - len(layout.hidden) + 1), (False, True)))


def naive_balanced(
    layout: Layout, order: np.ndarray, place: int, mirrored: bool, patches: int
) -> tuple[set[int], set[int]]:
    """Token by token, from the words of the docstrings."""
    run = len(layout.hidden)
    context: set[int] = set()
    target: set[int] = set()
    for rank, roi in enumerate(order.tolist()):
        for time in range(run):
            at = roi * patches + place + (run - 1 - time if mirrored else time)
            hidden, asked_alpha = layout.hidden[time], layout.alpha_times[time]
            if rank < layout.alpha:
                if asked_alpha or (hidden and rank < layout.gamma_alpha):
                    target.add(at)
            elif rank < layout.alpha + layout.seen:
                if not hidden:
                    context.add(at)
                elif rank - layout.alpha < layout.beta:
                    target.add(at)
            elif hidden and rank - layout.alpha - layout.seen < layout.gamma_rest:
                target.add(at)
    return context, target


@given(any_settings, st.integers(4, 40), st.integers(1, 14), st.integers(0, 2**40), st.data())
def test_balanced_masks_equal_a_naive_oracle(choices, rois, patches, step, data):
    settings = MaskSettings(**choices)
    layout = layout_of(step, rois, patches, settings)
    place, mirrored = data.draw(st.sampled_from(every_place(layout, patches)))
    order = np.random.default_rng(step).permutation(rois)
    context, target = balanced_regions(layout, rois, patches, Chosen(order, place, mirrored))
    expected = naive_balanced(layout, order, place, mirrored, patches)
    assert len(context) == len(expected[0]) > 0 and len(target) == len(expected[1]) > 0
    assert (set(context.tolist()), set(target.tolist())) == expected


@pytest.mark.parametrize("patches", [10, 5])
def test_balanced_masks_treat_all_rois_alike_exactly(patches):
    """Every ROI takes every rank once; the order is a uniform permutation, so this is the rate."""
    rois, settings = 450, MaskSettings()
    for step in range(2):
        layout = layout_of(step, rois, patches, settings)
        context, target = np.zeros(rois), np.zeros(rois)
        for shift in range(rois):
            members = Chosen(np.roll(np.arange(rois), shift))
            regions = balanced_regions(layout, rois, patches, members)
            context += np.bincount(regions[0] // patches, minlength=rois)
            target += np.bincount(regions[1] // patches, minlength=rois)
        assert np.ptp(context) == np.ptp(target) == 0 < min(context[0], target[0])


@pytest.mark.parametrize("patches", [1, 2, 5, 10, 13])
def test_balanced_masks_are_symmetric_in_time_exactly_and_reach_every_patch(patches):
    """All starts and both directions are equally likely, so their mean is the rate."""
    rois, settings = 60, MaskSettings()
    rates = np.zeros((2, patches))
    for step in range(150):
        layout = layout_of(step, rois, patches, settings)
        cases = every_place(layout, patches)
        for place, mirrored in cases:
            members = Chosen(np.arange(rois), place, mirrored)
            regions = balanced_regions(layout, rois, patches, members)
            assert members.places * 2 == len(cases)
            for rate, tokens in zip(rates, regions, strict=True):
                rate += np.bincount(tokens % patches, minlength=patches) / len(cases)
    assert np.allclose(rates, rates[:, ::-1], rtol=1e-12)
    assert (rates > 0).all()


def test_a_layout_is_drawn_once_a_step_and_mask(monkeypatch):
    drawn, draw_one = [], Layout.drawn
    monkeypatch.setattr(Layout, "drawn", lambda *a: drawn.append(a) or draw_one(*a))
    settings = MaskSettings(masks_per_sample=3, alpha_roi=(0.46, 0.59))
    for samples in (range(16), range(16, 20)):  # two micro-batches
        mask_batch(settings, rois=50, patches=10, seed=2**33, step=5, samples=samples)
    assert len(drawn) == 3


def test_orders_starts_and_directions_are_uniform():
    """What the two exact tests take for granted, within five standard errors."""
    n, rois = 3000, 12
    first, mirrored = np.zeros(rois), 0
    for sample in range(n):
        members = sample_stream(0, 0, sample, 0, 1)
        first[members.permutation(rois)[0]] += 1
        mirrored += members.random() < 0.5
    share = 1 / rois
    assert np.abs(first / n - share).max() < 5 * math.sqrt(share * (1 - share) / n)
    assert abs(mirrored / n - 0.5) < 5 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize("patches", [5, 7, 10, 20])
def test_shares_of_time_are_the_ones_asked_for_at_any_length(patches):
    """Within 2 % of the window: cut off instead of rounded, 5 patches would give 0.81 and 0.3."""
    layouts = [layout_of(step, 60, patches, MaskSettings()) for step in range(2000)]
    observed = np.mean([len(layout.hidden) for layout in layouts]) / patches
    asked = np.mean([layout.alpha_times.sum() for layout in layouts]) / patches
    assert observed == pytest.approx(0.92, abs=0.02)
    assert asked == pytest.approx(0.4, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("patches", [10, 5])
def test_balanced_rates_are_flat_over_rois_and_symmetric_in_time(patches):
    n, rois, settings = 80_000, 450, MaskSettings()
    by_roi, by_time = np.zeros((2, rois)), np.zeros((2, patches))
    for i in range(n):
        mask = sample_mask(settings, rois=rois, patches=patches, seed=1, step=i, sample=i)
        for k, tokens in enumerate((mask.context, mask.target)):
            by_roi[k] += np.bincount(tokens // patches, minlength=rois)
            by_time[k] += np.bincount(tokens % patches, minlength=patches)
    assert np.abs(by_roi / by_roi.mean(1, keepdims=True) - 1).max() < 0.02
    assert np.abs(by_time / by_time[:, ::-1] - 1).max() < 0.02
    assert (by_time > 0).all()


@given(any_settings, st.integers(4, 50), st.integers(1, 12), st.integers(0, 2**40))
def test_balanced_samples_of_a_step_have_equally_many_tokens(choices, rois, patches, step):
    settings = MaskSettings(**choices, masks_per_sample=2)
    batch = mask_batch(
        settings, rois=rois, patches=patches, seed=1, step=step, samples=[0, 5, 2**50]
    )
    for k in range(2):  # masks of one sample may differ in size, samples never do
        for valid in (batch.context_valid, batch.target_valid):
            assert valid is None or len(set(valid[:, k].sum(-1).tolist())) == 1
    assert batch.context_index.shape[:2] == batch.target_index.shape[:2] == (3, 2)


def test_balanced_sizes_vary_between_steps_and_not_between_samples():
    def size(step: int, sample: int) -> int:
        numbers = {"rois": 450, "patches": 10, "seed": 0, "step": step, "sample": sample}
        return len(sample_mask(MaskSettings(), **numbers).target)

    sizes = [{size(step, sample) for sample in range(3)} for step in range(20)]
    assert all(len(row) == 1 for row in sizes)
    assert len(set.union(*sizes)) > 15
