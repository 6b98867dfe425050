"""The head that fine-tuning starts from: which read-outs it hears."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.evaluation.learning.readout_head import _mixture

PEOPLE, SIZES = 160, (60, 60)  # features of two read-outs
MEAN = np.ones((PEOPLE, 1))


@pytest.fixture
def readouts():
    rng = np.random.default_rng(0)
    found = [rng.standard_normal((PEOPLE, size)) for size in SIZES]
    return [x - x.mean(0) for x in found]


def shares(readouts, left) -> np.ndarray:
    """Share of each read-out's kernel of unit mean square."""
    scales, _ = _mixture(readouts, [True, True], left - left.mean(0), MEAN)
    sizes = [(x**2).sum() / PEOPLE for x in readouts]
    return np.square(scales) * sizes


@pytest.mark.parametrize("told", [0, 1])
def test_of_two_read_outs_the_one_that_tells_is_heard(readouts, told):
    noise = 0.3 * np.random.default_rng(1).standard_normal((PEOPLE, 1))
    found = shares(readouts, readouts[told][:, :3].sum(1, keepdims=True) + noise)
    assert found[told] >= 0.75 and found.sum() == pytest.approx(1)


def test_two_that_tell_alike_are_heard_alike(readouts):
    left = sum(x[:, :3].sum(1, keepdims=True) for x in readouts)
    assert shares(readouts, left) == pytest.approx([0.5, 0.5])
