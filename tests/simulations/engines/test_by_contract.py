"""A whole study by contract: sites approved every question, and the bits are the same."""

from __future__ import annotations

import pytest
from flwr.app import Context, RecordDict
from rich.console import Console
from small_consortium import prepare, run, same, scenario, weights

from brainjepa_client.answering.app import app
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import CONTRACTS
from brainjepa_server.consortium.proposing import BEGINNINGS
from brainjepa_server.progress import StudyProgress
from brainjepa_server.study import Study
from brainjepa_simulations.engines.inprocess import InProcessGrid
from brainjepa_simulations.engines.virtual_sites import SITES, make_sites


def contract_of(settings, sites) -> Contract:
    roster = {site.name: f"key of {site.name}" for site in sites}
    evaluations = settings.total_rounds + BEGINNINGS
    return Contract(
        consortium="small",
        assignment=settings.assignment(),
        rounds=settings.total_rounds,
        evaluations=evaluations,
        roster=roster,
    )


class DeployedGrid(InProcessGrid):
    """Sites that answer contracts only."""

    def __init__(self, yamls) -> None:
        super().__init__(app, len(yamls), {})
        self._contexts = {
            node: Context(
                1, node, {"site-yaml": str(path), CONTRACTS: "required"}, RecordDict(), {}
            )
            for node, path in enumerate(yamls, 1)
        }


@pytest.fixture
def deployed(tmp_path):
    """Scenario, folder, YAMLs and settings of two sites, and the contract."""
    chosen, folder = scenario(2), tmp_path / "by-contract"
    prepare(chosen, folder)
    make_sites(chosen, folder)
    yamls = sorted((folder / SITES).glob("*.yaml"))
    sites = [read_settings(path, SiteSettings) for path in yamls]
    return chosen, folder, yamls, sites, contract_of(chosen.study, sites)


def study(chosen, folder, yamls, contract) -> Study:
    progress = StudyProgress(Console(quiet=True), chosen.study.total_rounds)
    return Study(DeployedGrid(yamls), chosen.study, folder, progress, len(yamls), contract)


@pytest.mark.slow
def test_the_same_bits_as_without(deployed, tmp_path):
    chosen, folder, yamls, sites, contract = deployed
    for site in sites:
        Contracts(site.state).propose(contract.text)
        Contracts(site.state).approve(contract, ScanStore.open(site.store).fingerprint)
    study(chosen, folder, yamls, contract).run()
    expected = weights(run(chosen, tmp_path / "without"))
    assert same(weights(folder), expected)
    for site in sites:
        lines = list(audit_log(site.state).lines())
        assert {line["event"] for line in lines} == {"answered"}
        assert {line["contract"] for line in lines} == {contract.hash}
        assert [line["round"] for line in lines if line["kind"] == "train"] == [1, 2, 3]


def test_sites_that_have_not_approved_are_shown_the_contract_and_left_out(deployed):
    chosen, folder, yamls, sites, contract = deployed
    with pytest.raises(ValueError, match="this site's manager has not approved yet contract"):
        study(chosen, folder, yamls, contract).run()
    for site in sites:
        assert [known.decision for known in Contracts(site.state).known()] == ["proposed"]
