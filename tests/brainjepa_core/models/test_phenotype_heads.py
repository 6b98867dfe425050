"""Heads on phenotypes: what is not known counts nothing, and nobody counts for another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.models.adapters import with_adapters
from brainjepa_core.models.parts.latent import latent_fisher_z
from brainjepa_core.models.parts.phenotypes import Phenotype
from brainjepa_core.models.phenotype_heads.model import PhenotypeHeads
from brainjepa_core.models.phenotype_heads.settings import PhenotypeHeadsSettings

AGE = {"column": "age", "mean": 40.0, "sd": 20.0}
SEX = {"column": "sex", "classes": [["M", 1], ["F", 2]]}
SIZES = dict(rois=5, frames=12, patch=4, components=2, width=8, depth=2, heads=2)


def model_of(**choices) -> PhenotypeHeads:
    torch.manual_seed(0)
    settings = PhenotypeHeadsSettings(**{**SIZES, "phenotypes": [AGE, SEX], **choices})
    model = PhenotypeHeads(settings, torch.randn(5, 2))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def slopes(model, x, told, valid=None) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.sample_losses(x, told, valid).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_before_the_first_step_a_window_is_read_as_its_connectivity():
    settings = PhenotypeHeadsSettings(**SIZES, phenotypes=[AGE])
    model, x = PhenotypeHeads(settings, torch.randn(5, 2)), torch.randn(3, 5, 12)
    z = latent_fisher_z(model.encoder, model.patches(x), model.basis_of(3), 5).detach()
    expected = [np.corrcoef(window) - np.eye(5) for window in x.numpy()]
    assert_allclose(z, np.arctanh(expected), atol=1e-5)
    assert torch.equal(model.outputs(x), torch.zeros(3, 1))


def test_a_phenotype_that_is_not_known_moves_nothing():
    model, x = model_of(), torch.randn(2, 5, 12)
    told = torch.tensor([[0.5, math.nan], [math.nan, math.nan]])
    found = slopes(model, x, told)
    assert not found["heads.weight"].reshape(2, -1)[1].any() and not found["heads.bias"][1]
    assert found["heads.weight"].reshape(2, -1)[0].any()
    alone = slopes(model, x[:1], told[:1])
    assert all(torch.allclose(found[name], alone[name], atol=1e-7) for name in found)
    losses = model.sample_losses(x, told).detach()
    expected = (model.outputs(x)[0, 0] - 0.5) ** 2 / 2
    assert losses.tolist() == [pytest.approx(float(expected.detach())), 0]


def test_a_loss_is_a_function_of_one_person():
    model, x, told = model_of(), torch.randn(4, 5, 12), torch.randn(4, 2)
    valid = torch.ones(4, 15, dtype=torch.bool)
    valid[1, :3] = valid[2, 2::3] = False  # an ROI; the last frames of all
    together = model.sample_losses(x, told, valid)
    for row in range(4):
        part = slice(row, row + 1)
        alone = model.sample_losses(x[part], told[part], valid[part])
        assert_allclose(together[part].detach(), alone.detach(), atol=1e-6)
    other = x.clone()
    other[1, 0], other[2, :, 8:] = 99.0, -99.0
    assert torch.equal(together, model.sample_losses(other, told, valid))


def test_what_is_trained():
    def trained(model) -> set[str]:
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        assert names <= {n for n in model.state_dict() if model.roles.is_trained(n)}
        return names

    heads = {"heads.weight", "heads.bias"}
    assert trained(model_of(freeze_encoder=True)) == heads
    everything = trained(model_of())
    assert heads < everything and "encoder.patch.weight" in everything
    adapted = trained(with_adapters(model_of(), 2, 0))
    assert heads < adapted and "encoder.blocks.0.attn.qkv.up" in adapted
    assert not any(name.endswith((".base.weight", "patch.weight")) for name in adapted)


@pytest.mark.parametrize(
    ("phenotype", "value", "expected"),
    [
        (AGE, 60.0, 1.0), (AGE, "old", math.nan), (AGE, None, math.nan),
        (SEX, "m", -1.0), (SEX, 2.0, 1.0), (SEX, 3.0, math.nan), (SEX, None, math.nan),
    ],
)  # fmt: skip
def test_values_as_they_are_learned(phenotype, value, expected):
    assert Phenotype(**phenotype).encoded(value) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("phenotype", "message"),
    [
        ({"column": "age"}, "expected mean and sd of the number 'age', or two classes of it, foun"),
        ({"column": "age", "mean": 0}, "write what a value is about and by how much it varies"),
        ({**AGE, "classes": [["a"], ["b"]]}, "expected mean and sd of the number 'age', or two"),
        ({"column": "x", "classes": [["a"], ["A"]]}, "each in one of them, found 1 in both"),
        ({"column": "x", "classes": [[], ["a"]]}, "expected two classes of 'x' with values"),
        ({**AGE, "sd": 0}, "greater than 0"),
    ],
)
def test_phenotypes_that_cannot_be_learned(phenotype, message):
    with pytest.raises(ValueError, match=message):
        Phenotype(**phenotype)


def test_settings_that_do_not_fit():
    with pytest.raises(ValueError, match="expected each column once, found 'age' twice"):
        model_of(phenotypes=[AGE, AGE])
    with pytest.raises(ValueError, match="expected adapters or freeze_encoder, found both"):
        model_of(freeze_encoder=True, adapters=2)
