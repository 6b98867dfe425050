from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score
from small_tasks import split_of, task_of

from brainjepa_core.evaluation.learning.probe import adjusted_features
from brainjepa_core.evaluation.methods.network_methods import (
    SETTINGS,
    ConnectivityNetworkMethod,
    adjusted_matrices,
    valid_rois,
)
from brainjepa_core.models.registry import learners

FAST = SETTINGS.model_copy(update={"steps": 40, "lr": 5e-3})


def people(n: int = 60, rois: int = 8, seed: int = 0):
    """Connectivity whose first pairs tell the class; some lack an ROI."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    matrices = 0.3 * rng.standard_normal((n, rois, rois))
    matrices[:, :4, :4] += np.where(y, 0.4, -0.4)[:, None, None]
    matrices = (matrices + matrices.transpose(0, 2, 1)) / 2
    matrices[::7, -1], matrices[::7, :, -1] = np.nan, np.nan
    return matrices, y.astype(np.float64)


@pytest.mark.parametrize("learner", learners().values(), ids=learners())
def test_classes_in_the_connectivity_are_told_apart(learner):
    matrices, y = people()
    data, split = task_of(y, classes=("no", "yes")), split_of(60)
    method = ConnectivityNetworkMethod(learner, matrices, matrices, FAST)
    found = method.predict(data, split)
    assert found.shape == (12, 2)
    assert roc_auc_score(y[split.test], found[:, 1]) > 0.85
    hidden = y.copy()
    hidden[split.test] = 1 - y[split.test]
    assert np.array_equal(method.predict(task_of(hidden, classes=("no", "yes")), split), found)


def test_values_are_predicted():
    matrices, _ = people()
    y = 30 + 20 * np.nanmean(matrices[:, :4, :4], axis=(1, 2))
    split = split_of(60)
    method = ConnectivityNetworkMethod(learners()["brainnetcnn"], matrices, settings=FAST)
    found = method.predict(task_of(y), split)
    assert np.corrcoef(found, y[split.test])[0, 1] > 0.7
    assert abs(found.mean() - y[split.test].mean()) < 5


def test_valid_rois_have_a_connection_to_another():
    matrices = np.full((2, 3, 3), 0.5)
    matrices[1, 0], matrices[1, :, 0] = np.nan, np.nan
    matrices[1, 0, 0] = 1.0  # the diagonal says nothing
    assert valid_rois(matrices).tolist() == [[True] * 3, [False, True, True]]


def test_matrices_are_adjusted_pair_by_pair_on_training_people():
    matrices, y = people()
    c = np.random.default_rng(1).standard_normal((60, 1))
    data, train = task_of(y, covariates=c), np.arange(30)
    found = adjusted_matrices(data, train, matrices)
    assert found.dtype == np.float32 and np.array_equal(found, found.transpose(0, 2, 1))
    assert not found[:, np.arange(8), np.arange(8)].any()
    expected = adjusted_features(data, train, matrices[:, 2, 1][:, None])
    assert_allclose(found[:, 1, 2], expected[:, 0], rtol=1e-5)
    changed = matrices.copy()
    changed[40:] += 1
    assert np.array_equal(adjusted_matrices(data, train, changed)[:30], found[:30])


def test_a_network_of_graphs_asks_for_their_edges():
    with pytest.raises(ValueError, match="expected partial correlations for BrainGNN, whose edges"):
        ConnectivityNetworkMethod(learners()["braingnn"], np.zeros((1, 2, 2)))
