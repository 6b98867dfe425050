"""A dry run of a contract with secure sums lists what a site really sends in each step."""

from __future__ import annotations

import pytest
from small_consortium import plan, prepare, run, scenario
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_client.guarding.dry_run import dry_run
from brainjepa_core.secure_sums.messages import STEPS
from brainjepa_core.wire.contract import contract_of_file
from brainjepa_core.wire.packing import PACKED, unpack_arrays
from brainjepa_simulations.engines import client_app
from brainjepa_simulations.engines.virtual_consortium import CONTRACT, agree
from brainjepa_simulations.engines.virtual_sites import SITES, make_sites
from brainjepa_simulations.scenario import Scenario

KINDS = {"query.gradients": "gradients", "train": "train", "evaluate": "evaluate"}


@pytest.mark.slow
@pytest.mark.parametrize("a_feature", [0, 1])  # in sums of all sites there are enough people
def test_each_row_of_each_step(tmp_path, monkeypatch, a_feature):
    kept, real = [], client_app.real_app

    def answer(message, context):
        told = message.content.config_records["assignment"]
        reply = real(message, context)
        if context.node_config["partition-id"] == 0 and "step" in told:
            kept.append((message.metadata.message_type, told["step"], reply.content))
        return reply

    monkeypatch.setattr(client_app, "real_app", answer)
    content = plan(4)
    content["policy"]["min_people_a_feature"] = a_feature
    content["study"]["floors"]["subjects"] = 34
    run(Scenario.model_validate(content).protected("secure_sum"), tmp_path)
    yaml, contract = tmp_path / SITES / "site-01.yaml", tmp_path / CONTRACT
    found: dict[str, dict] = {}
    for row in dry_run(yaml, contract=contract_of_file(contract)).rows:
        found.setdefault(row.message, {})[row.name] = row
    steps = {f"{kind}, step {step}" for kind in KINDS.values() for step in STEPS}
    assert set(found) == {"describe"} | steps
    assert {f"{KINDS[kind]}, step {step}" for kind, step, _ in kept} == steps
    for kind, step, content in kept:
        rows = found[f"{KINDS[kind]}, step {step}"]
        sent = unpack_arrays(content.array_records["arrays"][PACKED].numpy())
        told = dict(content.config_records["reply"])
        assert not told.get("refusal")
        assert set(rows) == {*sent, *told}
        for name, array in sent.items():
            row = rows[name]
            assert row.what == ("masked" if name.startswith("vector.") else "array")
            assert row.dtype == str(array.dtype)
            if name != "signature":  # whose length varies by some bytes
                assert (name, row.shape, row.bytes) == (name, array.shape, array.nbytes)
    words = ["site", "dry-run", str(yaml), "--contract", str(contract), "--summary"]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(command(), words)
    assert done.exit_code == 0, done.output
    assert "Masked: integers under the masks of a secure sum" in done.output
    assert "uint32 masked" in done.output and "train, step masked" in done.output


def test_a_contract_without_the_site(tmp_path):
    chosen = scenario(4).protected("secure_sum")
    prepare(chosen, tmp_path)
    make_sites(chosen, tmp_path)
    path = agree(tmp_path, chosen.study)
    yaml = tmp_path / SITES / "site-01.yaml"
    yaml.write_text(yaml.read_text().replace("name: site-01", "name: elsewhere"))
    text = "expected this site, 'elsewhere', in the roster of the contract, found site-01, site-02"
    with pytest.raises(ValueError, match=text):
        dry_run(yaml, contract=contract_of_file(path))
