"""The model that a study has before any training: connectivity, as the consensus sees it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_consortium import plan, run, scenario, weights

import brainjepa
from brainjepa_core.evaluation.readout.log_connectivity import LogConnectivity
from brainjepa_core.gradients import ConnectivitySum
from brainjepa_core.models.consensus_file import CONSENSUS, read_consensus
from brainjepa_core.models.sharing.card import CARD
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.scenario import Scenario

LOG = "latent_log_connectivity"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return run(scenario(2, 3), tmp_path_factory.mktemp("study"))


def test_it_reads_connectivity_as_the_consensus_sees_it(study):
    """The network is told by plain numpy: correlations of the series, and the sum that was sent."""
    model = brainjepa.load(study / "day-one")
    store = ScanStore.open(sorted((study / "stores").iterdir())[0])
    record = store.records[0]
    series = np.asarray(store.series(record), np.float64)
    r = np.corrcoef(series)
    rows, columns = np.tril_indices(len(r), -1)
    assert_allclose(model.embed(series, record.tr), np.arctanh(r[rows, columns]), atol=2e-4)
    consensus = ConnectivitySum.load(study / "connectivity_sum.npz").mean_fc()
    expected = LogConnectivity.of(consensus).features(r)
    assert_allclose(model.embed(series, record.tr, pool=LOG), expected, atol=1e-3)
    both = model.embed(series, record.tr, pool=(LOG, "latent_connectivity"))
    assert_allclose(both[: len(expected)], expected, atol=1e-3)
    assert len(both) == len(expected) + len(rows)


def test_it_is_the_network_before_its_first_step(study):
    chosen = scenario(2, 3).study.pretraining
    basis = brainjepa.ConsensusBasis.load(study / "basis.npz")
    start = chosen.new_model(basis).state_dict()
    found = weights(study, "day-one")
    assert all(np.array_equal(found[name], value.numpy()) for name, value in start.items())
    assert not np.array_equal(
        found["encoder.patch.weight"], weights(study, "final")["encoder.patch.weight"]
    )


def test_all_models_of_a_study_hold_the_consensus(study):
    for name in ("day-one", "final", "best"):
        assert read_consensus(study / name, 8) is not None


def test_the_card_says_what_was_measured_and_what_is_not_promised(study):
    card = (study / "day-one" / CARD).read_text()
    assert "# Day-one model of small" in card and "people of 2 sites" in card
    assert "Nothing on this consortium's people" in card and "It is not promised" in card
    assert "site-0" not in card and "{" not in card


def test_it_is_there_before_the_first_round(tmp_path):
    """A study whose rounds fail leaves a model all the same."""
    content = plan(2, 3, rounds={"quorum": 2, "retries": 0})
    content["policy"]["allow"] = ["describe", "gradients", "evaluate"]
    with pytest.raises(ValueError, match="usable replies"):
        run(Scenario.model_validate(content), tmp_path)
    assert brainjepa.load(tmp_path / "day-one").consensus is not None
    assert not (tmp_path / "final").exists()


def test_a_model_without_its_consensus_says_so(study, tmp_path):
    shutil.copytree(study / "day-one", tmp_path / "model")
    series = np.random.default_rng(0).standard_normal((8, 40))
    (tmp_path / "model" / CONSENSUS).write_bytes(b"no")
    with pytest.raises(ValueError, match=f"expected the consensus connectivity in {CONSENSUS}"):
        brainjepa.load(tmp_path / "model")
    (tmp_path / "model" / CONSENSUS).unlink()
    with pytest.raises(ValueError, match="expected a model with the consensus connectivity that"):
        brainjepa.load(tmp_path / "model").embed(series, 2.0, pool=LOG)
