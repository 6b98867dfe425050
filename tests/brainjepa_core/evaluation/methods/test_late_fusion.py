"""Late fusion: better than either part where both tell, and no weight for what only remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from small_tasks import split_of, task_of

from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.late_fusion import LateFusion

N = 300
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=N)
PARTS = [TRUTH[:, None] + RNG.normal(0, 1, (N, 1)) for _ in range(2)]


@dataclass
class Remembers:
    """Knows everybody it was trained on, and nothing else."""

    name: str = "remembers"

    def predict(self, data, split):
        known = set(np.union1d(split.train, split.validation).tolist())
        return np.array([data.target[row] if row in known else 0.0 for row in split.test])


def methods():
    return [FeatureMethod(f"part {i}", values) for i, values in enumerate(PARTS)]


def r(data, method):
    split = split_of(N)
    return np.corrcoef(method.predict(data, split), data.target[split.test])[0, 1]


def test_a_value_told_by_two_parts():
    data = task_of(TRUTH)
    fused = r(data, LateFusion("fused", methods()))
    best = np.corrcoef(sum(PARTS)[split_of(N).test, 0], TRUTH[split_of(N).test])[0, 1]
    assert fused > max(r(data, one) for one in methods()) + 0.05
    assert fused == pytest.approx(best, abs=0.02)  # the sum is the best there is


def test_what_only_remembers_gets_no_weight():
    data, (one, _) = task_of(TRUTH), methods()
    alone = one.predict(data, split_of(N))
    both = LateFusion("fused", [one, Remembers()]).predict(data, split_of(N))
    assert np.corrcoef(alone, both)[0, 1] > 0.999


def test_classes_give_probabilities():
    data = task_of(TRUTH > 0, classes=("no", "yes"))
    scores = LateFusion("fused", methods()).predict(data, split_of(N))
    np.testing.assert_allclose(scores.sum(1), 1)
    assert (scores.argmax(1) == data.target[split_of(N).test]).mean() > 0.75


def test_parts_know_the_repetition():
    """It draws the weights of those that begin at random."""
    seen, split = {}, replace(split_of(N), repetition=3)

    class Notes(Remembers):
        def predict(self, data, split):
            seen[split.name] = split.repetition
            return super().predict(data, split)

    LateFusion("fused", [Notes()]).predict(task_of(TRUTH), split)
    assert seen[split.name] == 3
