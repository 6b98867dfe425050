"""A study of twelve virtual sites in groups: recorded, shown, and going on without a lost group."""

from __future__ import annotations

import pytest
from small_consortium import plan, run, summary

from brainjepa_core.wire.contract import read_contract
from brainjepa_core.wire.groups import groups_of
from brainjepa_server.reporting.report import write_report
from brainjepa_simulations.engines import client_app
from brainjepa_simulations.engines.virtual_consortium import CONTRACT
from brainjepa_simulations.scenario import Scenario

SITES = 12


def grouped(sites: int = SITES, groups: int = 3) -> Scenario:
    planned = plan(sites, 3, cohort={"subjects_per_site": 5}, aggregation={"combine": "median"})
    planned["study"]["protect"] = {"secure_sum": {}, "groups": groups}
    return Scenario.model_validate(planned)


@pytest.mark.slow
def test_a_group_that_lost_two_sites_is_left_out_of_the_round(tmp_path, monkeypatch, capsys):
    real, gone = client_app.real_app, set()

    def answer(message, context):
        told = message.content.config_records["assignment"]
        contract = read_contract((tmp_path / CONTRACT).read_text())
        site = f"site-{int(context.node_config['partition-id']) + 1:02d}"
        if message.metadata.message_type == "train" and told["step"] == "masked":
            first = groups_of(contract.roster, contract.hash, 0, 3)[1]
            if message.metadata.group_id == "train-1" and site in first[:2]:
                gone.add(site)
                raise ConnectionError("the site dropped out")
        return real(message, context)

    monkeypatch.setattr(client_app, "real_app", answer)
    run(grouped(), tmp_path)
    contract = read_contract((tmp_path / CONTRACT).read_text())
    first, second = summary(tmp_path)["rounds"]
    for number, record in enumerate((first, second)):
        drawn = groups_of(contract.roster, contract.hash, number, 3)
        assert [tuple(group["sites"]) for group in record["summed"]["groups"]] == list(drawn)
    assert [bool(group["left_out"]) for group in first["summed"]["groups"]] == [0, 1, 0]
    lost = first["summed"]["groups"][1]
    assert lost["left_out"].startswith("expected at least 3 of 4 sites to answer step 'masked'")
    assert lost["norm"] is None and first["summed"]["groups"][0]["norm"] > 0
    assert set(first["rejected"]) == set(lost["sites"]) and len(first["sites"]) == 8
    for site, reason in first["rejected"].items():
        begins = "gone at step 'masked'" if site in gone else "the sum of its group was left out"
        assert reason.startswith(begins)
    assert second["rejected"] == {} and len(second["sites"]) == SITES
    assert second["summed"]["loss"] > 0 and second["yardstick"]
    shown = capsys.readouterr().out
    assert shown.count("the sum of its group was left out: expected at least 3 of 4 sites") == 2
    page = write_report(tmp_path).read_text()
    assert "Updates came as a sum of each of several groups of sites" in page
    assert "the sum of its group was left out" in page


def test_a_cohort_of_fewer_sites_than_groups_need():
    with pytest.raises(ValueError, match=r"expected at least 12 sites for 3 groups .*, found 11"):
        grouped(11)
    with pytest.raises(ValueError, match=r"expected at least 20 sites for 5 groups .*, found 12"):
        grouped(12, 5)
