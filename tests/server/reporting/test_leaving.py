"""What a board reads of a study: all that left, under what, and all that did not come or stay."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_grid import FakeGrid, replying
from page_text import unexplained

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import TRAIN, Assignment
from brainjepa_server.record.history import RoundRecord, RunHistory, SiteRecord, write_history
from brainjepa_server.reporting.leaving import PAGE
from brainjepa_server.reporting.methods import study_methods
from brainjepa_server.reporting.report import write_report
from brainjepa_server.rounds.received import MASKED, RECEIVED, ReceivedLog
from brainjepa_server.rounds.sites import LATE, Sites

CENTRAL = {"protect": "dp", "privacy": {"where": "central", "delta": 1e-6, "honest_sites": 2}}


def page_of(folder: Path, **fields) -> str:
    write_history(folder, RunHistory(name="s", **fields))
    write_report(folder)
    return unexplained((folder / PAGE).read_text())


def answered(folder: Path, step: str = "") -> ReceivedLog:
    log = ReceivedLog(folder, "s")
    log.note("a", TRAIN, 0, {"w": 4000}, "", step)
    return log


@pytest.mark.parametrize(
    ("settings", "step", "told", "not_told", "paper"),
    [
        ({}, "", "weights were seen by the coordinator", "secure sums over", "Neither secure"),
        ({"protect": {"secure_sum": {}}}, MASKED, "weights after its own", "were seen", "added un"),
        (CENTRAL, MASKED, "gradients of one step, each clipped", "were seen", "added under secure"),
        (CENTRAL, MASKED, "as secure sums over the sites", "weights after its", "Steps were diff"),
    ],
)
def test_protections_are_those_of_the_study(tmp_path, settings, step, told, not_told, paper):
    answered(tmp_path, step)
    page = page_of(tmp_path, settings=settings, promised={"a": 8.0}, contract="c" * 64)
    assert told in page and not_told not in page and "c" * 64 in page
    assert paper in study_methods(RunHistory(settings=settings))


def test_a_silent_site_is_among_those_that_did_not_come(tmp_path):
    log = ReceivedLog(tmp_path, "s")
    grid = FakeGrid(lambda node, m: replying(m, {}, {}) if node == 1 else None, [1, 2])
    sites = Sites(grid, {"a": 1, "b": 2}, received=log)
    task = Assignment(study_id="s", pretraining=PretrainingSettings(), steps=1)
    list(sites.ask(TRAIN, task, {}, ["a", "b"], 0.3))
    page = page_of(tmp_path)
    assert re.search(rf"<td[^>]*>b</td><td[^>]*>train</td><td[^>]*>{LATE}</td>", page)
    assert "Nothing." not in page
    assert "There has been no round yet." in page


def test_an_answer_that_the_coordinator_left_out_is_there_with_the_reason(tmp_path):
    answered(tmp_path)
    used = {"b": SiteRecord()}
    rounds = [RoundRecord(number=n, sites=used, rejected={"a": "far too long"}) for n in (1, 2)]
    page = page_of(tmp_path, rounds=rounds)
    shown = page[page.index("What is in no round") :]
    assert "2 times a site" in shown and "far too long" in shown and "Nothing." in page


def test_a_torn_last_line_is_none_and_a_changed_one_is_told(tmp_path):
    answered(tmp_path).note("b", TRAIN, 0, {"w": 1000}, "")
    path = tmp_path / RECEIVED
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"previous": "')
    assert "cannot be read" not in page_of(tmp_path)
    path.write_bytes(whole.replace(b"4000", b"4001"))
    assert f"{RECEIVED} cannot be read to its end" in page_of(tmp_path)
