"""Official masks: the statistics measured on the published code."""

from __future__ import annotations

import functools
import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shared_data import shared

from brainjepa_core.models.masks.draw import Mask, sample_mask
from brainjepa_core.models.masks.official import EDGE, official_regions
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.models.streams import sample_stream

TOKENS = ("context_tokens", "target_tokens", "context_rois", "target_rois")

shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).map(tuple)


def draw(rois: int, patches: int, sample: int) -> Mask:
    settings = MaskSettings(mode="official")
    return sample_mask(settings, rois=rois, patches=patches, seed=3, step=sample, sample=sample)


@functools.cache
def statistics(n: int) -> dict[str, np.ndarray]:
    """One value a mask, [n], for every statistic."""
    rows = []
    for i in range(n):
        mask = draw(450, 10, i)
        seen, asked = (
            np.bincount(tokens, minlength=4500).reshape(450, 10)
            for tokens in (mask.context, mask.target)
        )
        row = [seen.sum(), asked.sum(), seen.any(1).sum(), asked.any(1).sum()]
        row += [np.maximum(asked - 1, 0).sum(), (seen * asked).sum()]
        rows.append([*row, *seen.mean(0), *asked.mean(0)])
    names = [*TOKENS, "duplicates", "overlap"]
    names += [f"{kind} {w}" for kind in ("context", "target") for w in range(10)]
    return dict(zip(names, np.array(rows, float).T, strict=True))


def cells(n: int) -> list[tuple[str, float, float, float]]:
    """Name, published, measured from n masks, and the standard error of their difference."""
    published = json.loads(shared("reference", "mask_statistics.json").read_text())["batch_1"]
    values = statistics(n)
    assert not values["overlap"].any() and published["overlap_per_sample"] == 0
    means = {name: published[name]["mean"] for name in TOKENS}
    means["duplicates"] = published["duplicate_targets_per_sample"]
    for kind in ("context", "target"):
        for w, rate in enumerate(published[f"{kind}_rate_by_time_patch"]):
            means[f"{kind} {w}"] = rate
    spread = math.sqrt(1 / published["samples"] + 1 / n)
    found = [(k, m, values[k].mean(), values[k].std() * spread) for k, m in means.items()]
    for name in TOKENS:
        x = values[name]
        error = ((x - x.mean()) ** 2).std() / (2 * x.std()) * spread  # delta method
        found.append((f"{name} std", published[name]["std"], x.std(), error))
        # Beyond the extremes of the published masks about one of ours in as many may lie.
        for beyond in (x < published[name]["min"], x > published[name]["max"]):
            assert beyond.mean() * published["samples"] < 6
    return found


MANY = pytest.param(40_000, marks=pytest.mark.slow)


@pytest.mark.parametrize("n", [2000, MANY])
def test_official_masks_have_the_published_statistics(n):
    """Within 3 %, or 2.5 standard errors where that is more.

    The published figures are estimates from 2000 masks and can be met no better than they are
    known. Of 29 cells, of which 2.5 standard errors hold 98.8 %, one may lie beyond these, but
    within 3.3 (two such are expected in one of 20 runs).
    """
    scores = {
        name: abs(found - expected) / error
        for name, expected, found, error in cells(n)
        if abs(found - expected) > max(0.03 * expected, 2.5 * error)
    }
    assert len(scores) <= 1 and all(z < 3.3 for z in scores.values()), scores


@pytest.mark.parametrize("n", [MANY])
def test_what_2000_published_masks_tell_to_a_third_of_3_percent_is_met_within_3_percent(n):
    """No allowance for noise: token and ROI counts, rates in the middle and over whole edges.

    Single edge patches are not known so well: the published rate of targets is larger at patch 9
    than at patch 8, where nothing but cross-ROI targets, which patch 9 never has, tells them apart.
    """
    found = cells(n)
    rates = {name: (expected, rate) for name, expected, rate, _ in found}
    known = {k: (e, f) for k, e, f, error in found if e and error < 0.01 * e}
    for kind in ("context", "target"):
        for edge in (range(EDGE), range(10 - EDGE, 10)):
            cut = [rates[f"{kind} {w}"] for w in edge]
            known[f"{kind} over {edge}"] = tuple(np.mean(cut, axis=0))
    assert {*TOKENS, *(f"context {w}" for w in range(3, 7))} <= known.keys()
    off = {name: f / e - 1 for name, (e, f) in known.items() if abs(f / e - 1) > 0.03}
    assert not off and rates["context 9"] == (0, 0), off


def test_official_masks_never_see_the_last_patch_and_repeat_only_alpha_at_the_edges():
    for sample in range(100):
        mask = draw(50, 10, sample)
        assert (mask.context % 10 < 9).all()
        tokens, counts = np.unique(mask.target, return_counts=True)
        assert counts.max() <= 2
        times = tokens[counts == 2] % 10
        assert ((times < EDGE) | (times >= 10 - EDGE)).all()


@given(shares, shares, shares, st.integers(4, 30), st.integers(6, 14), st.integers(0, 2**40))
@example((0.3, 0.3), (0.5, 0.5), (1.0, 1.0), 10, 10, 0)
def test_cross_roi_targets_are_a_rectangle_on_the_grid(seen, alpha, times, rois, patches, step):
    """Whatever the shares: a time beyond the last patch would be an early time of the next ROI."""
    settings = MaskSettings(
        mode="official", observation=seen, alpha_roi=alpha, alpha_time=times,
        beta_gamma_time=(0, 0),
    )  # fmt: skip
    members = sample_stream(0, step, 0, 0, 0)
    context, target = official_regions(settings, rois, patches, members)
    block = np.zeros((rois, patches), bool)
    block.flat[target] = True
    assert block.sum() == len(target) == block.any(1).sum() * block.any(0).sum()
    assert (np.diff(np.flatnonzero(block.any(0))) == 1).all()
    assert len(np.unique(context // patches)) + block.any(1).sum() <= rois
    assert not set(context.tolist()) & set(target.tolist())


def test_shares_that_leave_no_context_are_refused():
    settings = MaskSettings(mode="official", alpha_roi=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"found 60 of 60 valid .* smaller shares of targets"):
        sample_mask(settings, rois=10, patches=6, seed=0, step=0, sample=0)
