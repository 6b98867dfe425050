"""Positions: published formula by loops, what each scaling does to others, all three modes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainjepa_core.models.parts.positions import Positions, min_max, sine_cosine_table, unit_rows


def make(components: int = 3, scaling: str = "minmax", scale: float = 1.0, rois: int = 5):
    torch.manual_seed(1)
    return Positions(16, 4, rois, components, scaling, scale)


@pytest.mark.parametrize(("length", "width"), [(10, 192), (1, 2), (7, 6)])
def test_sine_cosine_table_by_loops(length, width):
    table = sine_cosine_table(length, width)
    half = width // 2
    for t in range(length):
        for k in range(half):
            angle = t / 10000 ** (k / half)
            assert table[t, k] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[t, half + k] == pytest.approx(math.cos(angle), abs=1e-6)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="expected an even width for sines and cosines, found 5"):
        sine_cosine_table(3, 5)


@pytest.mark.parametrize("scaling", ["minmax", "rows"])
def test_every_token_by_loops(scaling):
    module, basis = make(scaling=scaling), torch.randn(5, 3)
    found = module(basis.expand(2, -1, -1)).detach().numpy()
    weight = module.projection.weight.detach().numpy()
    rows = basis.numpy()
    if scaling == "rows":
        rows = rows / np.sqrt((rows**2).mean())
    projected = rows @ weight.T + module.projection.bias.detach().numpy()
    if scaling == "minmax":
        low, high = projected.min(), projected.max()
        projected = 2 * (projected - low) / (high - low) - 1
    else:
        projected = projected / np.sqrt(2 * (projected**2).mean(1, keepdims=True))
    table = sine_cosine_table(4, 8).numpy()
    for roi in range(5):
        for time in range(4):
            expected = np.concatenate([table[time], projected[roi]])
            np.testing.assert_allclose(found[:, roi * 4 + time], [expected] * 2, atol=1e-5)


@pytest.mark.parametrize("components", [0, 3])
def test_index_selects_tokens_of_each_mask(components):
    module, basis = make(components), torch.randn(5, 3).expand(2, -1, -1)
    everything = module(basis)
    index = torch.randint(20, (2, 3, 6))
    found = module(basis, index)
    for sample in range(2):
        for mask in range(3):
            assert torch.equal(found[sample, mask], everything[sample, index[sample, mask]])


def test_sincos_positions_need_no_basis_and_no_parameters():
    module = make(components=0)
    assert list(module.parameters()) == []
    assert list(module.state_dict()) == []
    a, b = module(torch.zeros(1, 5, 1)), module(torch.randn(1, 5, 9))
    assert torch.equal(a, b)
    assert torch.equal(a[0, 2 * 4 + 3, 8:], sine_cosine_table(5, 8)[2])


def test_scale_multiplies_both_halves():
    basis = torch.randn(1, 5, 3)
    assert torch.allclose(make(scale=0.25)(basis), 0.25 * make()(basis))


def test_an_outlying_roi_shrinks_the_others_by_min_max_but_not_by_rows():
    basis = torch.randn(200, 3)
    wild = basis.clone()
    wild[0] *= 10
    spread = {
        (scaling, name): make(scaling=scaling, rois=200)(b[None])[0, 4:, 8:].std(0).mean().item()
        for scaling in ("minmax", "rows")
        for name, b in (("tame", basis), ("wild", wild))
    }
    assert spread["minmax", "wild"] < 0.5 * spread["minmax", "tame"]
    assert spread["rows", "wild"] == pytest.approx(spread["rows", "tame"], rel=0.15)


def test_rows_do_not_depend_on_the_unit_of_the_basis():
    basis = torch.randn(1, 5, 3)
    assert torch.allclose(
        make(scaling="rows")(basis), make(scaling="rows")(1e-3 * basis), atol=1e-5
    )


def test_rows_have_the_amplitude_of_a_sine():
    rows = unit_rows(torch.randn(6, 50) * torch.logspace(-3, 3, 6)[:, None])
    assert torch.allclose(rows.square().mean(-1), torch.full((6,), 0.5), atol=1e-5)


@pytest.mark.parametrize("scale", [min_max, unit_rows])
def test_a_constant_basis_stays_finite(scale):
    constant = torch.zeros(1, 5, 8, requires_grad=True)
    found = scale(constant)
    assert torch.isfinite(found).all()
    found.sum().backward()
    assert torch.isfinite(constant.grad).all()


@given(st.integers(2, 9), st.integers(1, 9), st.floats(-3, 3))
def test_min_max_spans_minus_one_to_one(rois, width, power):
    x = torch.randn(1, rois, width, dtype=torch.float64) * 10**power
    found = min_max(x)
    assert found.min() == -1
    assert found.max() == pytest.approx(1, abs=1e-9)
