"""Attribution: completeness, closed forms, and agreement with leaving single pairs out."""

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
from brainjepa_core.evaluation.learning.readout_head import ReadOutHead
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.evaluation.readout.with_slopes import LogWithSlopes
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings

ROIS = 6
CONSENSUS = np.corrcoef(np.random.default_rng(0).standard_normal((ROIS, 30)))


def people(*missing: int | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Correlations of people, each without an ROI."""
    found = []
    for seed, roi in enumerate(missing):
        r = np.corrcoef(np.random.default_rng(seed + 1).standard_normal((ROIS, 12)))
        there = np.arange(ROIS) != (-1 if roi is None else roi)
        known = np.outer(there, there)
        found.append((torch.from_numpy(np.where(known, r, 0))[None], torch.from_numpy(known)[None]))
    return found


@pytest.fixture
def network() -> FinetunedNetwork:
    torch.manual_seed(0)
    s = BrainJepaSettings.preset(
        "tiny", rois=ROIS, frames=12, patch=3, components=2, width=16, depth=2, heads=2,
        predictor_width=8, predictor_heads=2,
    )  # fmt: skip
    seen = LogConnectivity.of(CONSENSUS, 4)
    head = ReadOutHead(15 + seen.features(CONSENSUS[None]).shape[1], 2)
    readouts = ("latent_connectivity", "latent_log_connectivity")
    model = BrainJEPA(s, torch.randn(ROIS, 2))
    return FinetunedNetwork(model, head, readouts, LogWithSlopes.of(seen)).eval()


def test_of_a_linear_score_it_is_weight_times_distance():
    x, start, weight = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)
    found = integrated_gradients(lambda x: (x * weight).sum() + 5, x, start)
    torch.testing.assert_close(found, (x - start) * weight)


def test_of_a_product_both_factors_get_half():
    x = torch.randn(4)
    found = integrated_gradients(lambda x: x[0] * x[1], x, torch.zeros(4), steps=2)
    half = x[0] * x[1] / 2
    torch.testing.assert_close(found, torch.tensor([half, half, 0, 0]))


def test_of_a_cube_two_nodes_are_exact_and_one_is_not():
    x, zero = torch.randn(5), torch.zeros(5)
    torch.testing.assert_close(integrated_gradients(lambda x: (x**3).sum(), x, zero, 2), x**3)
    one = integrated_gradients(lambda x: (x**3).sum(), x, zero, 1)
    torch.testing.assert_close(one, 0.75 * x**3)


def test_each_roi_of_a_pair_gets_half_of_what_the_person_has_more_than_the_consensus():
    (r, known), *_ = people(None)
    found = attribute_people(
        lambda r, _: 3 * r[:, 4, 1], [(r, known)], torch.from_numpy(CONSENSUS), 1
    )
    half = 3 * (float(r[0, 4, 1]) - CONSENSUS[4, 1]) / 2
    assert_allclose(found.values, [[0, half, 0, 0, half, 0]], atol=1e-12)


def test_values_sum_to_the_score_less_that_of_the_consensus(network):
    given, consensus = people(None, None, 2, 0), torch.from_numpy(CONSENSUS)

    def score(r, known):
        return network.of_connectivity(r, known)[:, 1]

    found = attribute_people(score, given, consensus)
    assert found.values.shape == (4, ROIS)
    assert_allclose(np.nansum(found.values, 1), found.scores - found.expected, atol=1e-4)
    assert found.unexplained < 1e-3
    coarse = attribute_people(score, given, consensus, steps=1)
    assert coarse.unexplained > 10 * found.unexplained
    assert found.scores[0] == pytest.approx(float(score(*given[0]).detach()))


def test_missing_rois_have_no_value(network):
    def score(r, known):
        return network.of_connectivity(r, known)[:, 0]

    found = attribute_people(score, people(None, 2), torch.from_numpy(CONSENSUS)).values
    assert np.isnan(found).tolist() == [[False] * ROIS, [i == 2 for i in range(ROIS)]]


def test_a_gradient_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="expected a finite gradient of the score, found NaN"):
        attribute_people(
            lambda r, _: (r - r).sum((1, 2)).sqrt(), people(None), torch.from_numpy(CONSENSUS)
        )
