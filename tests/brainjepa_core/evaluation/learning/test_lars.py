from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brainjepa_core.evaluation.learning.lars import Lars


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_by_the_formula(decay):
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, 4)), rng.standard_normal(3)
    parameters = [torch.nn.Parameter(torch.tensor(x)) for x in (weight, bias)]
    optimizer = Lars(parameters, lr=0.5, weight_decay=decay, momentum=0.8, trust=0.01)
    moments = [np.zeros_like(weight), np.zeros_like(bias)]
    for step in range(4):
        slopes = [rng.standard_normal(x.shape) for x in (weight, bias)]
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = torch.tensor(slope)
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.5 / (step + 2)
        lr = 0.5 / (step + 1)
        update = slopes[0] + decay * weight
        update = update * 0.01 * np.linalg.norm(weight) / np.linalg.norm(update)
        moments[0] = 0.8 * moments[0] + update
        moments[1] = 0.8 * moments[1] + slopes[1]
        weight, bias = weight - lr * moments[0], bias - lr * moments[1]
        assert_allclose(parameters[0].detach(), weight, rtol=1e-12)
        assert_allclose(parameters[1].detach(), bias, rtol=1e-12)


def test_weights_of_zero_and_gradients_of_zero_move_on():
    zero = torch.nn.Parameter(torch.zeros(2, 2))
    still, unused = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(1))
    zero.grad, still.grad = torch.ones(2, 2), torch.zeros(2, 2)
    Lars([zero, still, unused], lr=1.0).step()
    assert torch.equal(zero.detach(), -torch.ones(2, 2))
    assert torch.equal(still.detach(), torch.ones(2, 2))
    assert torch.equal(unused.detach(), torch.ones(1))
