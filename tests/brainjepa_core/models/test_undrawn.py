"""Models whose weights are put in afterwards."""

from __future__ import annotations

import pytest
import torch

from brainjepa_core.models.registry import SHIPPED, family_named

AGE = {"column": "age", "mean": 40.0, "sd": 20.0}


def sizes(name: str, **choices):
    shape = family_named(name).settings
    more = {"phenotypes": [AGE]} if "phenotypes" in shape.model_fields else {}
    return shape.preset("tiny", rois=20, components=3, **{**more, **choices})


@pytest.mark.parametrize(
    ("name", "adapters"),
    [(n, a) for n in SHIPPED for a in (0, 2) if not (a and family_named(n).learner)],
)
def test_it_is_the_model_whose_weights_it_is_given(name, adapters):
    """Buffers and all that is not drawn are there, zeros where something is; no generator moves."""
    family, shape = family_named(name), sizes(name, adapters=adapters)
    basis = torch.arange(60.0).reshape(20, 3).sin()
    before = torch.random.get_rng_state()
    found = family.undrawn(shape, basis)
    assert torch.equal(torch.random.get_rng_state(), before)
    drawn, other = (family.new(shape, basis, seed) for seed in (3, 4))
    own, a, b = (model.state_dict() for model in (found, drawn, other))
    assert own.keys() == a.keys()
    for key, value in own.items():
        assert torch.isfinite(value).all(), key
        assert torch.equal(a[key], value) or not torch.equal(a[key], b[key]), key
    trained = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (found, drawn)]
    assert trained[0] == trained[1]
    found.load_state_dict(a)
    windows = (20, shape.frames) if shape.volumes is None else (shape.frames, *shape.volume)
    x = torch.randn(2, *windows)
    assert torch.equal(found.encode(x), drawn.encode(x))


def test_weights_are_drawn_again_afterwards():
    family, shape = family_named("brain_jepa"), sizes("brain_jepa")
    basis = torch.ones(20, 3)
    before = family.new(shape, basis, 1).state_dict()
    family.undrawn(shape, basis)
    after = family.new(shape, basis, 1).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
