"""Rounds on disk: complete or absent, the newest and the best kept, for one study and basis."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_server.rounds import checkpoint
from brainjepa_server.rounds.checkpoint import (
    RoundState,
    read_newest,
    round_folders,
    write_round,
)
from brainjepa_server.settings import AggregationSettings, RoundSettings, StudySettings

BASIS = "b" * 64


def make_settings(**changes) -> StudySettings:
    return StudySettings(**{"name": "study", "pretraining": PretrainingSettings()} | changes)


def make_state(number: int, **changes) -> RoundState:
    rng = np.random.default_rng(number)
    fields = {
        "round": number,
        "weights": {"a": rng.standard_normal((3, 4)).astype("f4").T, "b": np.ones((), "f4")},
        "outer": {"momentum.encoder.a": rng.standard_normal((4, 3)), "momentum.b": np.ones(())},
        "settings": make_settings(),
        "basis_hash": BASIS,
        "run_id": "a1",
    }  # fmt: skip
    return RoundState(**(fields | changes))


def names(directory) -> list[int]:
    return [int(p.name.removeprefix("round-")) for p in round_folders(directory)]


@pytest.mark.parametrize("outer", [True, False])
def test_what_is_read_is_what_was_written(tmp_path, outer):
    state = make_state(3, **({} if outer else {"outer": {}}))
    assert write_round(tmp_path, state).name == "round-000003"
    found = read_newest(tmp_path, make_settings(), BASIS)
    assert (found.round, found.run_id, found.basis_hash) == (3, "a1", BASIS)
    assert found.settings == make_settings()
    for mine, read in ((state.weights, found.weights), (state.outer, found.outer)):
        assert mine.keys() == read.keys()
        for name, value in mine.items():
            assert read[name].dtype == value.dtype and read[name].shape == value.shape
            np.testing.assert_array_equal(read[name], value)


def test_an_empty_folder_has_no_round(tmp_path):
    assert read_newest(tmp_path / "new", make_settings(), BASIS) is None


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    kept = []
    for number, best in enumerate([None, 2, 2, 2, 4, 4], 1):
        write_round(tmp_path, make_state(number), best)
        kept.append(names(tmp_path))
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [4, 5], [4, 5, 6]]
    write_round(tmp_path, make_state(7), 7)
    assert names(tmp_path) == [6, 7]
    assert read_newest(tmp_path, make_settings(), BASIS).round == 7


def test_one_of_every_so_many_is_kept_to_go_back_to(tmp_path):
    settings = make_settings(rounds=RoundSettings(keep_every=3))
    for number in range(1, 9):
        write_round(tmp_path, make_state(number, settings=settings))
    assert names(tmp_path) == [3, 6, 7, 8]
    sparser = make_settings(rounds=RoundSettings(keep_every=6))  # it may change on resume
    assert read_newest(tmp_path, sparser, BASIS).round == 8
    write_round(tmp_path, make_state(9, settings=sparser))
    assert names(tmp_path) == [6, 8, 9]


def test_numbers_count_as_numbers(tmp_path):
    for number in (999_999, 1_000_000):
        write_round(tmp_path, make_state(number))
    assert read_newest(tmp_path, make_settings(), BASIS).round == 1_000_000


@pytest.mark.parametrize("call", [1, 2])
def test_a_write_that_fails_leaves_the_rounds_before_it(tmp_path, monkeypatch, call):
    write_round(tmp_path, make_state(1))
    calls, save_file = [], checkpoint.save_file

    def fail(arrays, path):
        calls.append(path)
        if len(calls) == call:
            raise OSError("no space left on device")
        save_file(arrays, path)

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        write_round(tmp_path, make_state(2))
    assert [p.name for p in (tmp_path / "rounds").iterdir()] == ["round-000001"]
    assert read_newest(tmp_path, make_settings(), BASIS).round == 1


def test_half_a_round_of_a_killed_coordinator_is_not_looked_at(tmp_path):
    write_round(tmp_path, make_state(1))
    for name in (".round-000002.ab12cd34.tmp", "round-000003", "round-x"):
        (tmp_path / "rounds" / name).mkdir()
    assert read_newest(tmp_path, make_settings(), BASIS).round == 1


def test_a_round_is_written_once(tmp_path):
    write_round(tmp_path, make_state(1))
    with pytest.raises(FileExistsError, match="found that 'round-000001' exists"):
        write_round(tmp_path, make_state(1))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"aggregation": AggregationSettings(combine="median")},
            "expected aggregation.combine = median, found mean in the saved round-000001; "
            "continue with the saved settings, or start in a new folder",
        ),
        (
            {"pretraining": PretrainingSettings(preset="small")},
            "expected pretraining.preset = small, found tiny in the saved round-000001",
        ),
        (
            {"pretraining": PretrainingSettings(model={"depth": 1})},
            "expected pretraining.model.depth = 1, found nothing in the saved round-000001",
        ),
        ({"rounds": RoundSettings(local_steps=25)}, "expected rounds.local_steps = 25, found 50"),
    ],
)
def test_other_settings_are_refused(tmp_path, changes, text):
    write_round(tmp_path, make_state(1))
    with pytest.raises(ValueError, match=re.escape(text)):
        read_newest(tmp_path, make_settings(**changes), BASIS)


def test_how_long_and_how_often_may_change(tmp_path):
    write_round(tmp_path, make_state(1))
    other = make_settings(
        rounds=RoundSettings(quorum=2, deadline=60, joining_time=5, evaluate_every=4)
    )
    assert read_newest(tmp_path, other, BASIS).settings == other


def test_another_basis_is_refused(tmp_path):
    write_round(tmp_path, make_state(1))
    text = "expected the basis cccccccccccc, found bbbbbbbbbbbb in the saved round-000001; put the"
    with pytest.raises(ValueError, match=text):
        read_newest(tmp_path, make_settings(), "c" * 64)


@pytest.mark.parametrize("file", ["weights.safetensors", "outer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 40, b"[]", b'{"round": 1}'])
def test_damage_is_named_with_a_way_out(tmp_path, file, damage):
    write_round(tmp_path, make_state(1))
    path = write_round(tmp_path, make_state(2))
    (path / file).write_bytes(damage)
    with pytest.raises(ValueError, match=r"a round with .*remove 'round-000002'"):
        read_newest(tmp_path, make_settings(), BASIS)


def test_the_folder_names_no_person_and_no_path(tmp_path):
    path = write_round(tmp_path, make_state(1))
    facts = json.loads((path / "state.json").read_text())
    assert set(facts) == {"round", "basis_hash", "run_id", "settings"}
    assert str(tmp_path) not in (path / "state.json").read_text()


def test_what_a_kill_left_half_written_goes_with_the_next_round(tmp_path):
    left = tmp_path / "rounds" / ".round-000001.x.tmp"
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_bytes(b"half")
    write_round(tmp_path, make_state(1))
    assert [path.name for path in (tmp_path / "rounds").iterdir()] == ["round-000001"]
