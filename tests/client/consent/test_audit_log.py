"""The site's audit log as its manager reads it."""

from __future__ import annotations

import json

import pytest
import yaml
from small_sites import ask, first_arrays, make_site, write_stores
from typer.testing import CliRunner

from brainjepa_client.cli import app
from brainjepa_client.consent.audit_log import AUDIT, audit_log
from brainjepa_client.consent.withdrawal import remove_person
from brainjepa_core import chained_log
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import DESCRIBE, EVALUATE, GRADIENTS


@pytest.fixture
def site(tmp_path):
    return answered_site(tmp_path)


def answered_site(tmp_path):
    """A site that has answered, refused, and removed a person; its YAML."""
    stores = write_stores(tmp_path / "stores")
    one = make_site(stores[0], tmp_path / "state", allow=["describe", "gradients"])
    for request in (ask(DESCRIBE), ask(GRADIENTS), ask(EVALUATE, first_arrays(stores))):
        one.answer(request)
    remove_person(one.settings, ScanStore.open(stores[0]).records[0].subject)
    content = {"name": "one", "store": str(stores[0]), "state": str(tmp_path / "state")}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "site.yaml"


def show(site, *more: str):
    return CliRunner().invoke(app, ["log", str(site), *more])


def test_it_tells_what_left_and_what_was_refused(site):
    log = audit_log(site.parent / "state")
    result = show(site)
    assert result.exit_code == 0
    first, second, third, fourth, last = result.output.splitlines()
    assert " answered describe of study 'small', round 1: 0 arrays of 0 bytes, " in first
    size = sum(list(log.lines())[1]["arrays"].values())
    assert f" answered gradients of study 'small', round 1: 2 arrays of {size} bytes" in second
    assert "round 1: this site's policy does not allow evaluate (policy.allow)" in third
    assert " removed a person (fingerprint " in fourth and "who was in " in fourth
    assert (
        last == f"4 lines, each vouched for by the next; note the hash of the last one: {log.head}"
    )
    assert show(site, "--verify").output.splitlines() == [last]
    told = json.loads(show(site, "--json").output)
    assert told == {"lines": list(log.lines()), "head": log.head}
    assert json.loads(show(site, "--verify", "--json").output) == {"lines": [], "head": log.head}


def test_a_changed_line_is_named(site):
    path = site.parent / "state" / AUDIT
    path.write_text(path.read_text().replace('"kind": "gradients"', '"kind": "describe"'))
    result = show(site, "--verify")
    assert result.exit_code == 1
    assert (
        f"expected lines of '{path}' as they were written, found that line 2 or 3 is not; "
        "1 line before did not change; restore the file from a backup, and ask who changed it"
    ) in result.stderr


def test_without_the_chain_it_would_pass(tmp_path, monkeypatch):
    """The control: lines that vouch for nothing hide the same change."""
    monkeypatch.setattr(chained_log, "_digest", lambda line: chained_log.BEGIN)
    site = answered_site(tmp_path)
    path = site.parent / "state" / AUDIT
    path.write_text(path.read_text().replace('"kind": "gradients"', '"kind": "describe"'))
    assert show(site, "--verify").exit_code == 0
