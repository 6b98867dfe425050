"""Sizes that fit together, presets, and what is said when they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainjepa_core.models.brain_jepa.objective import ObjectiveSettings
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.parts.settings import PRESETS


@pytest.mark.parametrize(
    ("name", "width", "depth", "heads"),
    [("small", 384, 12, 6), ("base", 768, 12, 12), ("large", 1024, 24, 16)],
)
def test_published_presets(name, width, depth, heads):
    s = BrainJepaSettings.preset(name, rois=450)
    assert (s.width, s.depth, s.heads, s.predictor_heads) == (width, depth, heads, heads)
    assert (s.predictor_width, s.predictor_depth) == (384, 6)
    assert (s.frames, s.patch, s.components, s.time_patches, s.tokens) == (160, 16, 30, 10, 4500)


def test_recipes():
    published = BrainJepaSettings.preset("small", rois=1, recipe="published")
    assert (published.position_scaling, published.start) == ("minmax", "published")
    assert published.objective == ObjectiveSettings.published()
    assert not published.objective.holds_rank
    default = BrainJepaSettings.preset("small", rois=1)
    assert default.objective.remove_position and default.objective.holds_rank
    with pytest.raises(ValueError, match="a recipe among default, published, found 'mine'; take"):
        BrainJepaSettings.preset("small", rois=1, recipe="mine")


def test_choices_win_over_the_preset():
    assert BrainJepaSettings.preset("tiny", rois=9, width=64, components=2).width == 64


@pytest.mark.parametrize("name", PRESETS)
def test_settings_survive_a_round_trip(name):
    s = BrainJepaSettings.preset(name, rois=7)
    assert BrainJepaSettings(**s.model_dump()) == s


def test_error_texts():
    with pytest.raises(ValueError, match="expected a preset among tiny, small, base, large, found"):
        BrainJepaSettings.preset("huge", rois=1)
    with pytest.raises(ValueError, match="found 100 frames and patch 16; choose frames 96"):
        BrainJepaSettings.preset("tiny", rois=1, frames=100)
    with pytest.raises(ValueError, match="found 5 frames and patch 16; choose frames 16"):
        BrainJepaSettings.preset("tiny", rois=1, frames=5)
    with pytest.raises(ValueError, match="multiple of 4 and of heads, found width 96 and 5 heads"):
        BrainJepaSettings.preset("tiny", rois=1, heads=5)
    with pytest.raises(ValueError, match="multiple of 4 and of predictor_heads, found width 50"):
        BrainJepaSettings.preset("tiny", rois=1, predictor_width=50, predictor_heads=5)
    with pytest.raises(ValueError, match="rois"):
        BrainJepaSettings.preset("tiny", rois=0)
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        BrainJepaSettings.preset("tiny", rois=1, drop_path=0.1)


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        BrainJepaSettings.preset("tiny", rois=1).rois = 2


@given(st.integers(1, 500), st.integers(1, 400), st.integers(1, 50))
def test_window_lengths_divide_or_are_refused(rois, frames, patch):
    if frames % patch:
        with pytest.raises(ValueError, match="multiple of patch"):
            BrainJepaSettings.preset("tiny", rois=rois, frames=frames, patch=patch)
    else:
        s = BrainJepaSettings.preset("tiny", rois=rois, frames=frames, patch=patch)
        assert s.tokens * patch == rois * frames
