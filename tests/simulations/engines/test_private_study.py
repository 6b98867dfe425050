"""A whole study under ``protect: dp`` in one process: nothing but weights and steps is asked."""

from __future__ import annotations

import numpy as np
import pytest
from page_text import unexplained
from private_consortium import private
from small_consortium import TOTAL, FakeClient, run, same, summary, weights

from brainjepa_client.computing.private_round import SECRET
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_core.privacy.accounting import epsilon_of
from brainjepa_core.privacy.ledger import Ledger
from brainjepa_server.record.history import read_history
from brainjepa_server.reporting.report import write_report
from brainjepa_server.rounds import round as round_module
from brainjepa_simulations.engines.virtual_sites import STATES


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainjepa_core.tracking.tracker.mlflow_client", FakeClient())
        chosen = private(folder)
        return chosen, run(chosen, folder)


def test_sites_are_asked_for_nothing_but_training(straight):
    _, folder = straight
    for state in sorted((folder / STATES).iterdir()):
        lines = list(audit_log(state).lines())
        assert [line["kind"] for line in lines] == ["describe", "train", "train", "train"]
        assert all(line["event"] == "answered" for line in lines)
        assert all(line["numbers"] == ["steps"] for line in lines[1:])


def test_every_site_has_a_secret_of_its_own_and_spends_what_was_promised(straight):
    _, folder = straight
    states = sorted((folder / STATES).iterdir())
    assert len({(state / SECRET).read_text() for state in states}) == len(states) == 2
    history = read_history(folder)
    assert history.promised == {"site-01": 8.0, "site-02": 8.0}
    for state in states:
        (account,) = Ledger(state).accounts().values()
        assert sum(release.times for release in account.answered) == TOTAL
        assert 0.99 * 8 < epsilon_of(account.answered, 1e-5) <= 8


def test_the_record_knows_no_loss_and_the_page_says_so(straight):
    _, folder = straight
    history = read_history(folder)
    assert history.is_private and not history.baselines and history.best_round is None
    for record in history.rounds:
        assert record.loss is None and not record.yardstick and not record.rejected
        assert all(site.loss is None and site.seconds is None for site in record.sites.values())
    page = unexplained(write_report(folder).read_text())
    assert "no loss and no score leaves a site" in page
    assert "epsilon at delta 1e-05 of the whole study&#39;s training" in page
    assert "each person of site-01, site-02: 8." in page
    assert "It is that of the model the study starts from" in page
    assert "of 0 people" not in page and "Loss by site" not in page


def test_the_model_is_the_mean_of_the_sites_and_stands_on_the_given_basis(straight):
    _, folder = straight
    start = weights(folder.parent / f"{folder.name}-public", ".")
    final = weights(folder)
    assert np.array_equal(final["basis"], start["basis"])
    name = "encoder.patch.weight"
    assert 1e-3 < np.abs(final[name] - start[name]).max() < 1
    assert not (folder / "best").exists()


def test_a_study_that_was_cut_off_goes_on_with_the_same_bits(straight, tmp_path, monkeypatch):
    """Sites with the same secrets: as if the crash had not been."""
    chosen, whole = straight
    folder = tmp_path / "study"
    again = private(folder)
    for state in (whole / STATES).iterdir():
        copy = folder / STATES / state.name
        copy.mkdir(parents=True)
        for name in (SECRET, "salt"):
            (copy / name).write_bytes((state / name).read_bytes())
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", FakeClient())
    same_model = again.study.model_copy(update={"start_from": chosen.study.start_from})
    again = again.model_copy(update={"study": same_model})
    real, calls = round_module.next_weights, []

    def cut(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(round_module, "next_weights", cut)
        with pytest.raises(KeyboardInterrupt):
            run(again, folder)
    run(again, folder)
    assert same(weights(folder), weights(whole))
    for state in (folder / STATES).iterdir():
        (account,) = Ledger(state).accounts().values()
        assert sum(release.times for release in account.answered) == TOTAL
    assert summary(folder)["promised"] == summary(whole)["promised"]
