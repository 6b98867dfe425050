"""Connectivity in spaces of the consensus, by definition; nothing is learned of the tested."""

from __future__ import annotations

import numpy as np
import pytest
from feature_tasks import make_task
from numpy.testing import assert_allclose
from scipy.linalg import logm, sqrtm

from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.features.spaces import consensus_basis, consensus_tangent
from brainjepa_core.evaluation.readout.connectivity import matrix_of, mean_connectivity
from brainjepa_core.evaluation.readout.log_connectivity import SHRINKAGE
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

R = 10


@pytest.fixture(scope="module")
def windows(tmp_path_factory) -> Windows:
    settings = CohortSettings(
        sites=3, subjects_per_site=5, rois=R, networks=5, latents=3, frames=60, missing_rois=1,
        second_sessions=0.4,
    )  # fmt: skip
    paths = write_cohort(settings, tmp_path_factory.mktemp("cohort"))
    return Windows([ScanStore.open(path) for path in paths])


def whole(windows: Windows) -> list[int]:
    """People who lack no ROI."""
    pairs = SignalReadOuts(windows).pairs
    return np.flatnonzero(np.isfinite(pairs).all(1)).tolist()


def test_the_tangent_space_at_the_consensus(windows):
    data, training = make_task(np.arange(windows.subjects)), np.arange(9)
    signals = SignalReadOuts(windows)
    found = consensus_tangent(signals)(data, training)
    consensus = mean_connectivity(signals.pairs[training])
    white = np.linalg.inv(np.real(sqrtm(consensus)))
    for person in whole(windows)[:3]:
        seen = white @ matrix_of(signals.pairs[person]) @ white
        log = np.real(logm((1 - SHRINKAGE) * seen + SHRINKAGE * np.eye(R)))
        # Distances of features are those of matrices, a component.
        assert_allclose(np.square(found[person]).sum(), np.square(log).sum() / R, rtol=1e-4)
    assert found.shape == (windows.subjects, R * (R + 1) // 2) and np.isfinite(found).all()


def test_the_basis_of_the_consensus(windows):
    data, training = make_task(np.arange(windows.subjects)), np.arange(9)
    signals = SignalReadOuts(windows)
    found = consensus_basis(signals)(data, training)
    consensus = mean_connectivity(signals.pairs[training])
    leading = np.linalg.eigh(consensus)[1][:, ::-1][:, :4]
    person = whole(windows)[0]
    expected = leading.T @ matrix_of(signals.pairs[person]) @ leading
    assert_allclose(found[person], expected[np.tril_indices(4)], atol=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("space", ["tangent", "basis"])
def test_tested_people_teach_nothing(windows, space):
    made = {
        "tangent": lambda: consensus_tangent(SignalReadOuts(windows)),
        "basis": lambda: consensus_basis(SignalReadOuts(windows)),
    }[space]
    training = np.arange(6)
    everybody = make_task(np.arange(windows.subjects))
    few = make_task(np.arange(8))
    a, b = made()(everybody, training), made()(few, training)
    assert np.array_equal(a[:8], b, equal_nan=True)
    features = made()
    assert np.array_equal(features(everybody, training), a, equal_nan=True)
    assert not np.array_equal(features(everybody, np.arange(5)), a, equal_nan=True)
    assert np.array_equal(features(few, training), b, equal_nan=True)


@pytest.mark.parametrize("space", [consensus_tangent, consensus_basis])
def test_of_a_given_consensus_everybody_is_computed_once(windows, space):
    data, everybody = make_task(np.arange(windows.subjects)), np.arange(windows.subjects)
    given = mean_connectivity(SignalReadOuts(windows).pairs)
    features = space(SignalReadOuts(windows, given))
    assert features(data, everybody[:9]) is features(data, everybody[3:])
    of_training = space(SignalReadOuts(windows))
    assert of_training(data, everybody[:9]) is not of_training(data, everybody[3:])
