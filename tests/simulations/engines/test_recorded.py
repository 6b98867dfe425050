"""What a study writes: as much in its last round as in its first, and true after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_consortium import FakeClient, NoTracker, run, same, scenario, summary, weights

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_server import study as study_module
from brainjepa_server.record.history import ROUNDS, SUMMARY, read_history
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.reporting.verdict import verdict
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.study_folder import BASIS_FILE, BEST, SPOOL


class Written(NoTracker):
    """Counts the bytes that each round has put into the study's folder, sites' own left out."""

    seen: dict[Path, tuple[int, int]]
    rounds: list[int]

    def log_round(self, record) -> None:
        written, now = 0, {}
        for path in self.folder.rglob("*"):
            if path.is_file() and "site" not in path.relative_to(self.folder).parts[0]:
                found = path.stat()
                now[path] = found.st_ino, found.st_size
                inode, size = Written.seen.get(path, (0, 0))
                written += found.st_size - (size if inode == found.st_ino else 0)
        Written.rounds.append(written)
        Written.seen = now

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder


def test_a_round_writes_no_more_than_the_one_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Written, "seen", {}, raising=False)
    monkeypatch.setattr(Written, "rounds", [], raising=False)
    monkeypatch.setattr("brainjepa_server.study.StudyTracker", Written)
    run(scenario(1, 1, rounds={"evaluate_every": 9}), tmp_path)
    # The first has all files before it besides, the last an evaluation.
    rounds = Written.rounds[1:-1]
    assert len(rounds) == 4 and max(rounds) - min(rounds) < 50
    assert len((tmp_path / ROUNDS).read_text().splitlines()) == 6
    assert "rounds" not in json.loads((tmp_path / SUMMARY).read_text())


def test_rounds_have_one_number_wherever_people_read_them(tmp_path, monkeypatch, capsys):
    mlflow = FakeClient()
    monkeypatch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", mlflow)
    faults = {"dropouts": {2: [3]}}  # a scenario's third round, which is the last
    run(scenario(2, rounds={"evaluate_every": 1}, faults=faults), tmp_path)
    history, shown = read_history(tmp_path), capsys.readouterr().out
    assert [record.number for record in history.rounds] == [1, 2, 3]
    assert list(history.rounds[2].rejected) == ["site-02"]
    assert sorted({step for step, _ in mlflow.losses}) == [1, 2, 3]
    assert "round   1 of 3" in shown and "round   3 of 3" in shown and "round   0" not in shown
    assert (tmp_path / "rounds" / f"round-{history.best_round:06d}").is_dir()
    assert f"after round {history.best_round}, the best of 3" in " ".join(verdict(history))
    site = tmp_path / "site-state" / "site-01"
    assert sorted(p.name for p in (site / "small").glob("round-*"))[-1] == "round-000003"
    log = (site / "log.txt").read_text()
    assert "small round 1: train answered" in log and "small round 3: evaluate answered" in log
    assert "small: gradients answered" in log and "round 0" not in log


def stop_at(monkeypatch, name: str, call: int) -> None:
    real, calls = getattr(study_module, name), []

    def stopping(*arguments, **named):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(study_module, name, stopping)


@pytest.mark.slow
def test_lines_beyond_the_saved_round_are_cut(tmp_path, monkeypatch):
    run(scenario(), tmp_path / "straight")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, "write_round", 2)
        run(scenario(), tmp_path / "run")
    path = tmp_path / "run" / ROUNDS
    assert len(path.read_text().splitlines()) == 2  # of which the second has no checkpoint
    with path.open("a") as file:
        file.write('{"number": 3, "fir')  # and a third was begun
    run(scenario(), tmp_path / "run")
    assert summary(tmp_path / "run") == summary(tmp_path / "straight")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "straight"))


def test_lines_before_the_first_saved_round_are_cut(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, "write_round", 1)
        run(scenario(1), tmp_path)
    run(scenario(1), tmp_path)
    assert [r.number for r in read_history(tmp_path).rounds] == [1, 2, 3]


def test_a_study_without_the_lines_of_its_rounds_does_not_go_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, "write_round", 3)
        run(scenario(1), tmp_path)
    (tmp_path / ROUNDS).unlink()
    text = "expected 2 rounds in rounds.jsonl, as many as were saved, found 0; restore the file"
    with pytest.raises(ValueError, match=text):
        run(scenario(1), tmp_path)


def test_another_basis_is_refused_before_the_first_round(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, "evaluate", 1)
        run(scenario(1), tmp_path)
    basis = ConsensusBasis.load(tmp_path / BASIS_FILE)
    other = ConsensusBasis(basis.rois, -basis.gradients, basis.eigenvalues)
    other.save(tmp_path / BASIS_FILE)
    text = rf"the basis {basis.hash[:12]} that summary.json records, found {other.hash[:12]} in ba"
    with pytest.raises(ValueError, match=text):
        run(scenario(1), tmp_path)


def test_what_a_kill_left_in_the_folder_goes(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, "write_round", 2)
        run(scenario(1), tmp_path)
    for name in (".final.x.tmp", f"{SPOOL}x", "rounds/.round-000002.x.tmp", "rounds/round-000007"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    (tmp_path / ".summary.json.x.tmp").write_text("half")
    (tmp_path / "rounds" / "round-notes").mkdir()  # not ours
    run(scenario(1), tmp_path)
    left = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")]
    assert not [name for name in left if name.endswith(".tmp") or SPOOL in name]
    assert "rounds/round-000007" not in left and "rounds/round-notes" in left


def test_replies_wait_in_the_folder_of_the_study(tmp_path, monkeypatch):
    """What a kill leaves of them is thereby found and removed by the next run."""
    folders, ask = [], Sites.ask

    def asking(self, *arguments, **named):
        folders.append(self.folder)
        return ask(self, *arguments, **named)

    monkeypatch.setattr(Sites, "ask", asking)
    run(scenario(1, aggregation={"combine": "median"}), tmp_path)
    assert set(folders) == {tmp_path}


def test_no_round_is_called_best_where_no_score_is_a_number(tmp_path, monkeypatch):
    """A probe that came to nothing does not make the first model the best of the study."""
    real = study_module.evaluate

    def unknown(*arguments, **named):
        found = real(*arguments, **named)
        rows = [r.model_copy(update={"r2": None}) for r in found.rows]
        return found._replace(rows=rows)

    monkeypatch.setattr(study_module, "evaluate", unknown)
    run(scenario(1), tmp_path)
    assert read_history(tmp_path).best_round is None
    assert (tmp_path / "final").is_dir() and not (tmp_path / BEST).exists()
