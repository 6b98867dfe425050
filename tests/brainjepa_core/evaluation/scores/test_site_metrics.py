"""Metrics that leave a site: the defined ones, with three digits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from brainjepa_core.evaluation.scores.site_metrics import metrics_of, rounded

rng = np.random.default_rng(0)
N = 120
X = rng.standard_normal(N)
CLASS = (X + rng.standard_normal(N) > 0).astype(float)


def test_metrics_leave_out_what_is_undefined():
    scores = np.stack([-X, X], axis=1)
    found = metrics_of("classification", CLASS, scores)
    assert found.keys() == {"auc", "accuracy", "balanced accuracy"}
    assert found["auc"] == pytest.approx(roc_auc_score(CLASS, X))
    assert "auc" not in metrics_of("classification", np.zeros(N), scores)
    assert metrics_of("regression", np.ones(N), np.ones((N, 1))) == {"mae": 0}
    assert rounded(0.123456) == 0.123 and rounded(12345.6) == 12300
