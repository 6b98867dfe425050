"""Parts of a study that need no site: its score, its settings, what the coordinator is shown."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.files import lone_writer
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import read_settings
from brainjepa_server import study as study_module
from brainjepa_server.progress import StudyProgress, told
from brainjepa_server.record.best import best_of
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    Told,
    YardstickRow,
    write_history,
)
from brainjepa_server.rounds.joining import Members
from brainjepa_server.settings import StudySettings
from brainjepa_server.study import Study
from brainjepa_server.study_folder import LOCK

SCHEDULE = {"schedule": {"total_steps": 100}}
ROUNDS = {"local_steps": 10}


class Stopped(Exception):
    pass


def stopped(*_):
    raise Stopped


def row(pool: str, outcome: str, r2: float | None) -> YardstickRow:
    return YardstickRow(model="federated", pool=pool, outcome=outcome, r2=r2)


def rounds_of(*rows: list[YardstickRow]) -> list[RoundRecord]:
    return [RoundRecord(number=i, yardstick=found) for i, found in enumerate(rows, 1)]


def test_the_best_round_is_one_that_was_scored():
    """Of rounds whose score is unknown none is the best, however often they were evaluated."""
    scores = (None, 0.2, float("nan"), 0.4, 0.4, None)
    rounds = rounds_of(*([row(HEADLINE, "connectivity", score)] for score in scores))
    assert best_of(rounds) is rounds[3]  # the earliest of equals
    unknown = [*rounds[:1], *rounds_of([row(HEADLINE, "latents", 0.9), row("mean", "age", 0.9)])]
    assert best_of(unknown) is None and best_of([]) is None


def test_rounds_are_compared_by_the_other_half_where_it_is_told():
    """Which a probe of connectivity contradicts in the demo: it prefers the untrained network."""
    scored = [(0.3, -0.2), (0.2, -0.1), (0.1, -0.15)]
    both = rounds_of(
        *(
            [row(HEADLINE, "connectivity", r2), row("latent_connectivity", "the other half", half)]
            for r2, half in scored
        )
    )
    assert best_of(both) is both[1]
    silent = RoundRecord(number=4, yardstick=[row(HEADLINE, "connectivity", 0.9)])
    assert best_of([*both, silent]) is both[1]  # R2 of two outcomes are no numbers of one kind


def test_a_line_of_the_yardstick():
    rows = [row("mean", "latents", 0.9), row(HEADLINE, "latents", 0.5), row(HEADLINE, "x", None)]
    assert told(rows) == "R2: latents 0.500" and told(()) == ""
    rows.append(row("latent_connectivity", "the other half", 0.25))
    assert told(rows) == "R2: the other half 0.250; R2: latents 0.500"


def test_what_the_coordinator_is_shown():
    shown = io.StringIO()
    progress = StudyProgress(Console(file=shown, width=200), 3)
    members = Members("three", ("a", "b"), {"x": 1, "y": 2}, left_out={"z": "[red]no"})
    progress.members(members)
    with progress.round(1, 2) as heard:
        heard("x", "")
        heard("y", "expected [this]")
    site = SiteRecord(loss=0.5, share=1)
    progress.finished(RoundRecord(number=1, seconds=1.0, bytes_up=2_000_000, sites={"x": site}))
    progress.finished(RoundRecord(number=2))
    progress.resumed(1)
    text = shown.getvalue()
    assert "2 sites, 2 ROIs: x, y" in text and "left out z: [red]no" in text
    assert "left out y: expected [this]" in text and "resuming after round 1 of 3" in text
    assert "round   1 of 3  loss 0.5000  1 site  1.0 s  2.0 MB up" in text
    assert "round   2 of 3  loss -  0 sites  0.0 s  0.0 MB up" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"rounds": {"local_steps": 30}},
            "expected rounds.local_steps to divide the schedule's total_steps (100), found 30",
        ),
        (
            {"rounds": {"local_steps": 10, "sites": 2}},
            "rounds: expected quorum of at most the 2 sites asked in a round, found 3; lower",
        ),
        (
            {"sites": ["a", "b"]},
            "expected rounds.quorum of at most the 2 sites of the roster (sites), found 3; lower",
        ),
        (
            {"sites": ["a", "b", "c", "a"]},
            "letters, digits, - and _, each once, found 'a'; write each site as its own settings",
        ),
        ({"sites": ["a", "b", "c d"]}, "letters, digits, - and _, each once, found 'c d'; write"),
        (
            {"sites": ["a", "b"], "protect": "secure_sum", "rounds": ROUNDS | {"quorum": 2}},
            "expected at least 3 sites with protect: secure_sum, where the coordinator sees sums "
            "over all sites and no reply of one, found 2; correct it, or go without protect",
        ),
        ({"held_out_fold": 5}, "expected held_out_fold below folds (5), found 5; number folds"),
        ({"name": "../x"}, "name: expected text of the form"),
        ({"aggregation": {"combine": "sum"}}, "aggregation.combine: expected 'mean', "),
        (
            {"aggregation": {"max_norm": 0}},
            "aggregation.max_norm: expected a number of at least 1",
        ),
        ({"aggregation": {"outer": {"kind": "adam"}}}, "aggregation.outer.kind: expected"),
        ({"floors": {"people": 3}}, "floors.people: no such field; check the spelling or remove"),
    ],
)
def test_wrong_settings_are_named(tmp_path, change, text):
    local = PretrainingSettings(training=SCHEDULE).model_dump(mode="json")
    content = {"name": "s", "pretraining": local, "rounds": ROUNDS, **change}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError) as caught:
        read_settings(tmp_path / "study.yaml", StudySettings)
    assert str(caught.value).startswith("study.yaml") and text in str(caught.value)


def test_the_task_of_a_round():
    rounds = {"local_steps": 20}
    settings = StudySettings(
        name="s", pretraining=PretrainingSettings(training=SCHEDULE), rounds=rounds
    )
    assert settings.total_rounds == 5
    task = settings.assignment(3)
    assert (task.round, task.first_step, task.steps, task.study_id) == (3, 60, 20, "s")


def test_a_folder_has_one_coordinator_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(study_module, "gather", stopped)
    settings = StudySettings(
        name="s", pretraining=PretrainingSettings(training=SCHEDULE), rounds={"local_steps": 20}
    )
    folder = tmp_path / "s"
    study = Study(SimpleNamespace(), settings, folder, StudyProgress(Console(quiet=True), 5))
    with pytest.raises(Stopped):  # makes the folder, and lets go of it
        study.run()
    refused = pytest.raises(
        BlockingIOError,
        match=r"alone in writing the study in '.*', found another command at",
    )
    with lone_writer(folder / LOCK, "", wait=False), refused:
        study.run()
    with pytest.raises(Stopped):
        study.run()


def test_a_study_that_goes_on_keeps_what_a_site_told_that_has_left(tmp_path, monkeypatch):
    settings = StudySettings(
        name="s", pretraining=PretrainingSettings(training=SCHEDULE), rounds={"local_steps": 20}
    )
    told = {"gone": Told(people=50, scans=90), "here": Told(people=10, scans=10)}
    past = {"told": told, "stores": {"gone": "a" * 64}, "promised": {"gone": 8.0}}
    write_history(tmp_path, RunHistory(settings=settings.model_dump(mode="json"), **past))
    about = {"subjects": 20, "scans": 30, "store_fingerprint": "b" * 64}
    members = Members("three", ("a", "b"), {"here": 1}, {"here": about})
    monkeypatch.setattr(study_module, "gather", lambda *_: members)
    monkeypatch.setattr(study_module.StudyTracker, "start", stopped)
    study = Study(SimpleNamespace(), settings, tmp_path, StudyProgress(Console(quiet=True), 5))
    with pytest.raises(Stopped):
        study.run()
    assert study.history.told == {**told, "here": Told(people=20, scans=30)}
    assert study.history.stores == {**past["stores"], "here": "b" * 64}
    assert study.history.promised == past["promised"]
