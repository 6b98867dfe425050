"""The audit of private training: it finds broken promises, and none where they are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from brainjepa_core.privacy.settings import PrivacySettings
from brainjepa_simulations.attacks.guessing import canary
from brainjepa_simulations.attacks.guessing.canary import AuditSettings, audit, lower_bound

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")
DELTA = 1e-5


def test_the_bound_by_hand():
    """All of 100 hits and no error: rates of at least .957 and at most .043."""
    found = lower_bound(np.full(200, 1.0), np.full(200, 0.0), 0.0)
    least = 0.0125 ** (1 / 100)
    assert found == pytest.approx(math.log(least / (1 - least)), rel=1e-9)
    assert lower_bound(np.zeros(200), np.ones(200), 0.0) == 0.0  # told apart the wrong way round
    same = np.random.default_rng(0).standard_normal((2, 400))
    assert lower_bound(*same, DELTA) < 0.3


def test_gaussian_scores_prove_no_more_than_their_epsilon():
    """Of scores one noise apart epsilon is 4.4 at this delta; what is proven is less."""
    rng = np.random.default_rng(1)
    found = lower_bound(rng.normal(1, 1, 4000), rng.normal(0, 1, 4000), DELTA)
    assert 0.8 < found < 4.38


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_five_hundred_runs_prove_less_than_is_told():
    found = audit(AuditSettings(PrivacySettings(noise=1.5)), runs=500, delta=DELTA)
    assert found.runs == 500
    assert 0.1 < found.found <= found.told, found


@pytest.mark.slow
def test_a_training_with_less_noise_than_it_tells_is_caught(monkeypatch):
    """The same attack on a site whose noise is a twentieth of what is promised."""
    settings = AuditSettings(PrivacySettings(noise=6.0), batch=6, steps=2)
    told = settings.told(DELTA)
    monkeypatch.setattr(PrivacySettings, "site_noise", 0.3)
    found = audit(settings, runs=160, delta=DELTA)
    assert found.told == told < 1.0 < found.found


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="expected at least 8 runs, found 4"):
        audit(AuditSettings(PrivacySettings(noise=1.0)), runs=4)


def test_a_run_is_a_function_of_its_secret():
    settings = AuditSettings(PrivacySettings(noise=1.0))
    model = canary._model(0)
    scores = [canary.score(model, settings, True, secret, 0) for secret in ("a", "a", "b")]
    assert scores[0] == scores[1] != scores[2]
