"""Who takes part, who does not and why, and who comes and goes."""

from __future__ import annotations

from collections import Counter

import pytest
from fake_grid import FakeGrid, failing, replying
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import WIRE_VERSION
from brainjepa_server.rounds import joining, sites
from brainjepa_server.rounds.joining import Door, Members, await_quorum, join_late
from brainjepa_server.rounds.joining import gather as gather_at
from brainjepa_server.rounds.sites import LATE
from brainjepa_server.settings import StudySettings

CRASHED = sites.REASONS[ErrorCode.CLIENT_APP_CRASHED]
ROIS = "Vis_1\nVis_2\nDef_1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sites, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(joining, "POLL_SECONDS", 0.001)


def settings(quorum=2, wait=0.02, sites=()) -> StudySettings:
    rounds = {"quorum": quorum, "joining_time": wait}
    return StudySettings(name="s", pretraining=PretrainingSettings(), rounds=rounds, sites=sites)


def gather(grid: FakeGrid, chosen: StudySettings, **known) -> Members:
    return gather_at(Door(grid, chosen), **known)


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


@pytest.mark.parametrize(("cuts", "whole"), [(1, True), (2, True), (3, False)])
def test_a_site_that_is_cut_off_while_it_describes_itself_is_asked_again(cuts, whole):
    """Its worker was killed, say; the SuperNode tells so, and has another one a moment later."""
    asked = Counter()

    def answer(node, message):
        asked[node] += 1
        if node == 3 and asked[3] <= cuts:
            return Message(Error(ErrorCode.CLIENT_APP_CRASHED, "canary"), reply_to=message)
        return replying(message, {}, facts("abc"[node - 1]))

    door = Door(FakeGrid(answer, [1, 2, 3]), settings(wait=5.0), admitted=lambda: ADMITTED)
    members = gather_at(door, nodes=3)
    assert asked == {1: 1, 2: 1, 3: min(cuts, 2) + 1}
    assert sorted(members.nodes) == (["a", "b", "c"] if whole else ["a", "b"])
    assert [*members.left_out.values()] == ([] if whole else [f"{CRASHED} (Flower error 8)"])


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
        r"expected at least 2 sites \(rounds.quorum\) within 0.02 s \(rounds.joining_time\), "
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


def test_without_a_roster_the_whole_joining_time_is_waited(clock):
    """The quorum alone must not make a consensus without the hospitals that take a minute more."""
    began, told = clock.now, {n: facts(name) for n, name in enumerate("abcd", 1)}
    members = gather(grid_of(told, [], [1, 2], [1, 2, 3], [1, 2, 3, 4]), settings(wait=5))
    assert sorted(members.nodes) == ["a", "b", "c", "d"] and clock.now - began > 5


def test_a_study_begins_at_once_when_its_roster_is_there(clock):
    began, told = clock.now, {n: facts(name) for n, name in enumerate("abcd", 1)}
    chosen = settings(wait=1000, sites=("a", "b", "c"))
    members = gather(grid_of(told, [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]), chosen)
    assert sorted(members.nodes) == ["a", "b", "c"] and clock.now - began < 1


@pytest.mark.parametrize("known", [{"nodes": 3}, {"known": ("a", "b", "c")}])
def test_nobody_is_waited_for_where_all_are_known_to_be_there(clock, known):
    began, told = clock.now, {n: facts(name) for n, name in enumerate("abc", 1)}
    members = gather(grid_of(told, [1, 2], [1, 2, 3]), settings(wait=1000), **known)
    assert sorted(members.nodes) == ["a", "b", "c"] and clock.now - began < 1


def test_a_site_of_the_roster_that_never_comes_is_waited_for_and_no_longer(clock):
    began, told = clock.now, {1: facts("a"), 2: facts("b")}
    members = gather(grid_of(told), settings(wait=30, sites=("a", "b", "late")))
    assert sorted(members.nodes) == ["a", "b"] and 30 < clock.now - began < 31


def test_a_site_of_the_roster_that_refuses_is_not_waited_for(clock):
    """Its key is admitted under its name, so that a refusal is known to be its own."""
    began, told = clock.now, {1: facts("a"), 2: facts("b"), 3: "not approved yet"}
    chosen = settings(wait=1000, sites=("a", "b", "c"))
    door = Door(grid_of(told), chosen, admitted=lambda: ADMITTED)
    members = gather_at(door)
    assert sorted(members.nodes) == ["a", "b"] and clock.now - began < 2
    assert members.left_out == {"c": "not approved yet"}


def test_a_site_that_refuses_ends_no_wait_for_another_one(clock):
    began, told = clock.now, {1: facts("a"), 2: "not approved yet", 3: facts("c")}
    chosen = settings(wait=1000, sites=("a", "b", "c"))
    grid = grid_of(told)
    grid.get_node_ids = lambda: [1, 2] if clock.now - began < 50 else [1, 2, 3]
    members = gather_at(Door(grid, chosen, admitted=lambda: ADMITTED))
    assert sorted(members.nodes) == ["a", "c"] and 50 <= clock.now - began < 60


def test_where_all_others_refuse_the_study_ends_at_once_with_their_reasons(clock):
    began, told = clock.now, {1: facts("a"), 2: "not approved yet", 3: "the store changed"}
    chosen = settings(wait=1000, sites=("a", "b", "c"))
    text = "expected at least 2 sites that fit together .*; b: not approved yet; c: the store chan"
    with pytest.raises(ValueError, match=text):
        gather_at(Door(grid_of(told), chosen, admitted=lambda: ADMITTED))
    assert clock.now - began < 2


def test_a_stranger_to_the_roster_is_left_out():
    told = {1: facts("a"), 2: facts("b"), 3: facts("stranger")}
    members = gather(grid_of(told), settings(sites=("a", "b")))
    assert sorted(members.nodes) == ["a", "b"]
    text = "expected a site of the study's roster, found another; add its name to 'sites'"
    assert members.left_out == {"stranger": text}


def test_a_silent_node_keeps_nobody_at_the_door(clock):
    """It came first; the others are asked, answer and are members all the same."""
    told = {1: None, 2: facts("b"), 3: facts("c")}
    members = gather(grid_of(told, [1], [1, 2], [1, 2, 3]), settings(wait=9, sites=("b", "c")))
    assert sorted(members.nodes) == ["b", "c"] and members.left_out == {"node-001": LATE}
    told[1] = facts("a")  # it was slow, not silent
    members.roster = ()
    door = Door(grid_of(told), settings())
    join_late(door, members)
    assert sorted(members.nodes) == ["a", "b", "c"]


def test_a_node_that_goes_and_comes_back_is_asked_again():
    """Its first answer was Flower's, that it is gone; it is back before the time is over."""
    told = {1: facts("a"), 2: facts("b"), 3: "the site is not connected any more"}
    grid = grid_of(told, [1, 2, 3], [1, 2], [1, 2, 3])
    ids = grid.get_node_ids

    def back():
        found = ids()
        if len(grid.present) == 1:
            told[3] = facts("c")
        return found

    grid.get_node_ids = back
    members = gather(grid, settings(wait=9))
    assert sorted(members.nodes) == ["a", "b", "c"] and members.left_out == {}


def test_a_late_joiner_that_is_silent_holds_up_no_round_and_is_asked_again(clock):
    told = {1: facts("a"), 2: facts("b"), 3: None}
    grid = grid_of(told, [1, 2], [1, 2, 3])
    door = Door(grid, settings(wait=60))
    members = gather_at(door, nodes=2)
    before = clock.now
    for _ in range(3):
        join_late(door, members)
    assert clock.now == before and members.left_out == {} and len(grid.pushed) == 3
    clock.sleep(61)
    join_late(door, members)
    assert members.left_out == {"node-003": LATE}
    told[3] = facts("c")
    join_late(door, members)
    assert sorted(members.nodes) == ["a", "b", "c"] and members.left_out == {}


def test_late_joiners_and_leavers():
    told = {n: facts(name) for n, name in enumerate("abcd", 1)}
    told[4] = facts("d", wire_version=0)
    grid = grid_of(told, [1, 2], [1, 2, 3, 4], [2, 3, 4], [1, 2, 3])
    door = Door(grid, settings())
    members = gather_at(door, nodes=2)
    asked = len(grid.pushed)
    join_late(door, members)
    assert sorted(members.nodes) == ["a", "b", "c"] and list(members.left_out) == ["d"]
    assert len(grid.pushed) == asked + 2  # nobody is asked twice
    join_late(door, members)
    assert sorted(members.nodes) == ["b", "c"]
    join_late(door, members)
    assert members.nodes == {"a": 1, "b": 2, "c": 3}


def test_a_member_that_comes_back_under_another_node_before_its_old_one_is_gone():
    told = {1: facts("a"), 2: facts("b"), 3: facts("a")}
    door = Door(grid_of(told, [1, 2], [1, 2, 3], [2, 3]), settings())
    members = gather_at(door, nodes=2)
    join_late(door, members)
    assert members.nodes == {"a": 1, "b": 2} and "found two" in members.left_out["a"]
    join_late(door, members)
    assert members.nodes == {"a": 3, "b": 2} and members.left_out == {}


def test_everybody_may_leave():
    door = Door(grid_of({1: facts("a"), 2: facts("b")}, [1, 2], []), settings())
    members = gather_at(door, nodes=2)
    join_late(door, members)
    assert members.nodes == {} and members.asked == set()


ADMITTED = {1: "a", 2: "b", 3: "c"}


def at_admitted(told: dict[int, object], admitted=ADMITTED, quorum=2) -> Members:
    return gather_at(Door(grid_of(told), settings(quorum), admitted=lambda: admitted))


def test_a_site_that_takes_anothers_name_is_left_out_whichever_node_comes_first():
    """Nodes are asked in the order of their numbers, which are random."""
    for impostor, real in ((1, 2), (2, 1)):
        told = {impostor: facts("a"), real: facts("a"), 3: facts("c")}
        members = at_admitted(told, {impostor: "b", real: "a", 3: "c"})
        assert members.nodes == {"a": real, "c": 3}
        assert members.left_out == {
            "b": "expected the site whose key is admitted as 'b', found one that calls itself a; "
            "have it join under its own name"
        }


def test_without_keys_the_impostor_would_be_the_member():
    """What the binding of names to keys is for: the node of the lower number comes first."""
    told = {1: facts("a"), 2: facts("a"), 3: facts("c")}
    members = gather_at(Door(grid_of(told), settings()))
    assert members.nodes == {"a": 1, "c": 3}


@pytest.mark.parametrize("name", [7, "", "<b>", None])
def test_a_site_without_its_admitted_name_is_left_out(name):
    said = facts("c") if name is None else facts(name)
    if name is None:
        del said["site"]
    members = at_admitted({1: facts("a"), 2: facts("b"), 3: said})
    assert sorted(members.nodes) == ["a", "b"]
    assert "expected the site whose key is admitted as 'c'" in members.left_out["c"]


def test_a_key_that_is_not_admitted_any_more_is_left_out():
    members = at_admitted({1: facts("a"), 2: facts("b"), 9: facts("a")})
    assert members.nodes == {"a": 1, "b": 2}
    assert members.left_out == {
        "node-003": "expected a key of the study's roster, found another; admit the site, and "
        "propose the study again"
    }


def test_an_impostor_does_not_follow_a_member_that_went():
    told = {1: facts("a"), 2: facts("b"), 3: facts("a")}
    door = Door(
        grid_of(told, [1, 2, 3], [2, 3]), settings(), admitted=lambda: {1: "a", 2: "b", 3: "x"}
    )
    members = gather_at(door, nodes=3)
    join_late(door, members)
    assert members.nodes == {"b": 2} and list(members.left_out) == ["x"]


def test_a_quorum_is_waited_for_and_no_longer_than_the_joining_time(clock):
    told = {1: facts("a"), 2: facts("b")}
    members = Members("three", tuple(ROIS.split("\n")))
    await_quorum(Door(grid_of(told, [], [1], [1, 2]), settings(wait=60)), members)
    assert sorted(members.nodes) == ["a", "b"]
    began, members = clock.now, Members("three", tuple(ROIS.split("\n")))
    await_quorum(Door(grid_of(told, [1]), settings(wait=60)), members)
    assert list(members.nodes) == ["a"] and 60 < clock.now - began < 62


def test_a_site_that_is_about_to_leave_does_not_count_as_there(clock):
    """It told that it stops, is connected for some seconds more, and comes back later."""
    grid = grid_of({1: facts("a"), 2: facts("b")})
    began = clock.now
    grid.get_node_ids = lambda: [1] if 5 < clock.now - began < 40 else [1, 2]
    door = Door(grid, settings(wait=60), admitted=lambda: ADMITTED)
    members = gather_at(door, nodes=2)
    await_quorum(door, members)
    assert sorted(members.nodes) == ["a", "b"] and clock.now - began >= 40
