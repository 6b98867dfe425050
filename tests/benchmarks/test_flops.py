"""The counted work of a step, against PyTorch's own counter."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings


@pytest.fixture(scope="module")
def flops() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "parts" / "flops.py"
    spec = importlib.util.spec_from_file_location("bench_flops", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("recipe", ["default", "published"])
@pytest.mark.parametrize("positions", ["gradient", "sincos"])
@pytest.mark.parametrize("masks", [1, 2, 9])
def test_step_flops_equal_the_counter(flops, recipe, positions, masks):
    s = BrainJepaSettings.preset(
        "tiny", rois=10, recipe=recipe, frames=32, patch=8, components=3, positions=positions,
        width=32, depth=3, predictor_depth=2,
    )  # fmt: skip
    model = BrainJEPA(s, torch.randn(10, 3))
    order = torch.rand(2, masks, s.tokens).argsort(-1)
    # Kernels that compute scores anew in the backward pass do more work than is useful.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.randn(2, 10, 32), order[..., :13], order[..., -7:]).mean().backward()
    counted = flops.step_flops(s, 13, 7, batch=2, masks=masks)
    assert sum(counted.values()) == counter.get_total_flops()


def test_what_is_skipped_is_counted_as_skipped(flops):
    s = BrainJepaSettings.preset("small", rois=450, recipe="published")
    parts = flops.step_flops(s, 1241, 1127, batch=2)
    everything = flops.step_flops(s, 1241, 1127, batch=2, skip_unread=False)
    assert everything["context encoder"] == parts["context encoder"]
    for part in ("target encoder", "predictor"):
        assert 0.9 * everything[part] < parts[part] < everything[part]
