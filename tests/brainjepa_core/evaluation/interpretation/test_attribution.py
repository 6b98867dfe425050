"""Attribution: completeness, closed forms, and agreement with leaving single ROIs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.interpretation.attribution import (
    attribute_people,
    integrated_gradients,
)
from brainjepa_core.evaluation.learning.finetuned_network import FinetunedNetwork
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.pooling import POOLS, pool_tokens
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.ridge import fit_ridge

ROIS, PATCHES, PATCH = 6, 4, 3
NETWORKS = np.array([0, 1, 1, 2, 0, 1])


class People:
    """Person 1 lacks ROI 2, person 2 has a short second window."""

    subjects = 12

    def full_windows(self, subject):
        rng = np.random.default_rng(subject)
        count = 2 if subject == 2 else 1
        x = rng.standard_normal((count, ROIS, 12)).astype(np.float32)
        frames, rois = np.ones((count, 12), bool), np.ones((count, ROIS), bool)
        rois[:, 2] = subject != 1
        frames[1:, 6:] = False
        return x * rois[..., None] * frames[:, None], frames, rois


@pytest.fixture(scope="module")
def model() -> BrainJEPA:
    torch.manual_seed(0)
    s = BrainJepaSettings.preset(
        "tiny", rois=ROIS, frames=12, patch=PATCH, components=2, width=16, depth=2, heads=2,
        predictor_width=8, predictor_heads=2,
    )  # fmt: skip
    model = BrainJEPA(s, torch.randn(ROIS, 2))
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def test_of_a_linear_score_it_is_weight_times_signal():
    x, weight = torch.randn(3, ROIS, 12), torch.randn(ROIS, 12)
    found = integrated_gradients(lambda x, _: (x * weight).sum((1, 2)) + 5, x)
    torch.testing.assert_close(found, x * weight)


def test_of_a_product_both_factors_get_half():
    x = torch.randn(3, ROIS, 12)
    found = integrated_gradients(lambda x, _: x[:, 0, 0] * x[:, 1, 1], x, steps=2)
    expected = torch.zeros_like(x)
    expected[:, 0, 0] = expected[:, 1, 1] = x[:, 0, 0] * x[:, 1, 1] / 2
    torch.testing.assert_close(found, expected)


def test_of_a_cube_two_nodes_are_exact_and_one_is_not():
    def score(x: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
        return (x**3).sum((1, 2))

    x = torch.randn(2, ROIS, 12)
    torch.testing.assert_close(integrated_gradients(score, x, steps=2), x**3)
    torch.testing.assert_close(integrated_gradients(score, x, steps=1), 0.75 * x**3)


def probe_score(model, weights, intercept=0.0, pools=("mean",), networks=None):
    """Score of a linear probe on a frozen model's embedding, as a function of the windows."""
    w = torch.as_tensor(np.asarray(weights), dtype=torch.float32)
    labels = None if networks is None else torch.from_numpy(networks)

    def score(x: torch.Tensor, token_valid: torch.Tensor | None) -> torch.Tensor:
        tokens = model.tokens_of(x, token_valid)  # `embed` keeps no gradient
        return pool_tokens(tokens, PATCHES, pools, token_valid, labels) @ w + intercept

    return score


def weights_of(model: BrainJEPA, pools: tuple[str, ...]) -> np.ndarray:
    size = {"network_covariance": 6}
    total = sum(size.get(pool, model.settings.width) for pool in pools)
    return np.random.default_rng(0).standard_normal(total)


SMOOTH = ("mean", "std", "network_covariance")


@pytest.mark.parametrize(("pools", "tolerance"), [(SMOOTH, 1e-5), (POOLS, 0.02)])
def test_values_of_a_probe_sum_to_its_score_less_that_of_a_blank_scan(model, pools, tolerance):
    score = probe_score(model, weights_of(model, pools), 2.0, pools, NETWORKS)
    found = attribute_people(score, People(), range(4), PATCH, steps=20)
    away = found.scores - found.blank
    assert found.values.shape == (4, ROIS) and np.abs(away).min() > 0.01
    assert_allclose(np.nansum(found.values, 1), away, atol=tolerance * np.abs(away).mean())
    assert found.unexplained < tolerance
    coarse = attribute_people(score, People(), range(4), PATCH, steps=1)
    assert coarse.unexplained > 10 * found.unexplained


def test_missing_rois_have_no_value(model):
    score = probe_score(model, weights_of(model, ("mean",)))
    found = attribute_people(score, People(), [0, 1, 2], PATCH).values
    lacks = [[False] * ROIS, [i == 2 for i in range(ROIS)], [False] * ROIS]
    assert np.isnan(found).tolist() == lacks


def test_the_score_is_the_probes_prediction(model):
    features = embed_people(model, People(), range(12), POOLS, NETWORKS)
    joined = np.concatenate([features[pool] for pool in POOLS], axis=1)
    outcome = np.random.default_rng(3).standard_normal((12, 1))
    probe = fit_ridge(Moments.of(joined, outcome), 1.0)
    score = probe_score(model, probe.weights[:, 0], float(probe.intercept[0]), POOLS, NETWORKS)
    scores = attribute_people(score, People(), range(12), PATCH, steps=1).scores
    assert_allclose(scores, probe.predict(joined)[:, 0], atol=1e-3)


def test_an_output_of_a_finetuned_network_is_a_score(model):
    torch.manual_seed(1)
    network = FinetunedNetwork(model, 2, ("mean",)).eval()
    found = attribute_people(lambda x, valid: network(x, valid)[:, 1], People(), [0, 1], PATCH)
    head = network.head
    probe = probe_score(model, head.weight[1].detach(), head.bias[1].item())
    expected = attribute_people(probe, People(), [0, 1], PATCH)
    assert_allclose(found.values, expected.values, atol=1e-6)
    assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_of_a_sum_of_functions_of_single_rois_it_is_the_fall_without_each():
    def score(x: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
        return torch.tanh(x[:, 3].square().mean(-1)) + 0.1 * x[:, 5].square().mean(-1)

    people = [0, 3, 4]
    values = attribute_people(score, People(), people, PATCH).values
    for person, found in zip(people, values, strict=True):
        x = torch.from_numpy(People().full_windows(person)[0])
        for roi in range(ROIS):
            without = x.clone()
            without[:, roi] = 0
            fall = score(x, None) - score(without, None)
            assert_allclose(found[roi], fall.mean().item(), atol=1e-5)
    assert (values.argmax(1) == 3).all() and (values[:, [0, 1, 2, 4]] == 0).all()


def test_a_gradient_that_is_no_number():
    with pytest.raises(ValueError, match="expected a finite gradient of the score, found NaN"):
        attribute_people(lambda x, _: (0 * x).sum((1, 2)).sqrt(), People(), [0], PATCH)
