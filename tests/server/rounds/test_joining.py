"""Who takes part, who does not and why, and who comes and goes."""

from __future__ import annotations

import pytest
from fake_grid import FakeGrid, failing, replying

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import WIRE_VERSION
from brainjepa_server.rounds import joining, sites
from brainjepa_server.rounds.joining import gather, join_late
from brainjepa_server.settings import StudySettings

ROIS = "Vis_1\nVis_2\nDef_1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sites, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(joining, "POLL_SECONDS", 0.001)


def settings(quorum=2, wait=0.02) -> StudySettings:
    rounds = {"quorum": quorum, "join_deadline": wait}
    return StudySettings(name="s", pretraining=PretrainingSettings(), rounds=rounds)


def facts(name, **changes) -> dict:
    return {"wire_version": WIRE_VERSION, "site": name, "atlas": "three", "rois": ROIS, **changes}


def grid_of(told: dict[int, object], *present) -> FakeGrid:
    """Nodes that say of themselves: facts, a refusal, an error or nothing."""

    def answer(node, message):
        said = told[node]
        if isinstance(said, dict):
            return replying(message, {}, said)
        if isinstance(said, str):
            return replying(message, {}, {}, said)
        return failing(message) if said is failing else None

    return FakeGrid(answer, *(present or (sorted(told),)))


def test_sites_that_fit_are_members():
    grid = grid_of({5: facts("b"), 9: facts("a")})
    members = gather(grid, settings())
    assert members.nodes == {"b": 5, "a": 9} and members.left_out == {}
    assert members.rois == tuple(ROIS.split("\n")) and members.atlas == "three"
    assert members.about["a"]["site"] == "a" and members.asked == {5, 9}


@pytest.mark.parametrize(
    ("said", "name", "text"),
    [
        (facts("c", wire_version=99), "c", f"expected messages of version {WIRE_VERSION} (code"),
        (facts("c", wire_version="<b>1"), "c", "found ?b?1; install the same version everywhere"),
        (facts("St. Mary's"), "node-003", "expected a site name of letters, digits, - and _; set"),
        (facts(7), "node-003", "expected a site name"),
        (facts("a"), "a", "expected one site named a, found two; rename one of them"),
        (
            facts("c", rois="Vis_2\nVis_1\nDef_1"),
            "c",
            "expected the atlas of the others, three (3 ROIs in order), found three (3 ROIs); "
            "import with the same atlas",
        ),
        (facts("c", rois=""), "c", "found three (1 ROIs)"),
        ("this site's policy does not allow describe", "node-003", "this site's policy does not"),
        (failing, "node-003", "the site's app failed (Flower error 2)"),
        (None, "node-003", "no reply before the deadline"),
        ({}, "node-003", "found None; install"),
    ],
)
def test_others_are_left_out_with_a_reason(said, name, text):
    members = gather(grid_of({1: facts("a"), 2: facts("b"), 3: said}), settings())
    assert members.nodes == {"a": 1, "b": 2}
    assert text in members.left_out[name] and list(members.left_out) == [name]


def test_a_refusal_is_made_harmless():
    hostile = "x\x1b[31m<script>\n" + "y" * 1000
    members = gather(grid_of({1: facts("a"), 2: facts("b"), 3: hostile}), settings())
    reason = members.left_out["node-003"]
    assert len(reason) <= 240 and not set("\x1b<>\n[") & set(reason)


def test_the_atlas_of_most_sites_is_the_studys():
    other = {"rois": "A\nB", "atlas": "two"}
    told = {1: facts("a", **other), 2: facts("b"), 3: facts("c"), 4: facts("d", **other)}
    told[5] = facts("e")
    members = gather(grid_of(told), settings())
    assert members.atlas == "three" and sorted(members.nodes) == ["b", "c", "e"]


def test_a_quorum_that_never_comes():
    text = (
        r"expected at least 2 sites \(rounds.quorum\) within 0.02 s \(rounds.join_deadline\), "
        "found 1; start more sites, or lower the quorum"
    )
    with pytest.raises(ValueError, match=text):
        gather(grid_of({1: facts("a")}), settings())


def test_a_quorum_that_does_not_fit():
    text = (
        r"expected at least 2 sites that fit together \(rounds.quorum\), found 1; b: expected "
        "messages of version"
    )
    with pytest.raises(ValueError, match=text):
        gather(grid_of({1: facts("a"), 2: facts("b", wire_version=0)}), settings())
    with pytest.raises(ValueError, match="found 0; node-001: no reply before the deadline"):
        gather(grid_of({1: None, 2: None}), settings())


def test_gathering_waits_for_the_quorum():
    told = {1: facts("a"), 2: facts("b")}
    members = gather(grid_of(told, [], [1], [1], [1, 2]), settings(wait=5))
    assert sorted(members.nodes) == ["a", "b"]


def test_late_joiners_and_leavers():
    told = {n: facts(name) for n, name in enumerate("abcd", 1)}
    told[4] = facts("d", wire_version=0)
    grid = grid_of(told, [1, 2], [1, 2, 3, 4], [2, 3, 4], [1, 2, 3])
    members = gather(grid, settings())
    asked = len(grid.pushed)
    join_late(grid, members, settings())
    assert sorted(members.nodes) == ["a", "b", "c"] and list(members.left_out) == ["d"]
    assert len(grid.pushed) == asked + 2  # nobody is asked twice
    join_late(grid, members, settings())
    assert sorted(members.nodes) == ["b", "c"]
    join_late(grid, members, settings())
    assert members.nodes == {"a": 1, "b": 2, "c": 3}


def test_a_member_that_comes_back_under_another_node_before_its_old_one_is_gone():
    told = {1: facts("a"), 2: facts("b"), 3: facts("a")}
    grid = grid_of(told, [1, 2], [1, 2, 3], [2, 3])
    members = gather(grid, settings())
    join_late(grid, members, settings())
    assert members.nodes == {"a": 1, "b": 2} and "found two" in members.left_out["a"]
    join_late(grid, members, settings())
    assert members.nodes == {"a": 3, "b": 2} and members.left_out == {}


def test_everybody_may_leave():
    grid = grid_of({1: facts("a"), 2: facts("b")}, [1, 2], [])
    members = gather(grid, settings())
    join_late(grid, members, settings())
    assert members.nodes == {} and members.asked == set()
